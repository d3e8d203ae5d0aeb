//! `task_create`, `task_delegate`, `task_bind`, `task_info`, `task_list`, `task_revoke`.

use std::sync::Arc;

use ephyr_mcp::{ToolError, ToolOutput};
use ephyr_names::{AgentName, TaskId, Timestamp, Ttl};
use ephyr_token::{HolderKey, Narrowing, NarrowingArguments};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer::ReceiptView;
use crate::broker::Broker;
use crate::clock;
use crate::tasks::{self, TaskError};
use ephyr_core::caller::AgentCaller;
use ephyr_core::state::TaskRecord;

/// Tasks in one answer of `task_list`, or of `task_revoke` as a dry run.
const MOST_LISTED: usize = 1000;
/// Bytes of descriptions in one answer of `task_list`.
const MOST_DESCRIBED: usize = 256 * 1024;

#[derive(Deserialize)]
pub(super) struct Create {
    description: String,
    #[serde(default = "default_ttl")]
    ttl: String,
    #[serde(default)]
    can_delegate: bool,
    holder_pub_key: Option<String>,
    envelope: Option<NarrowingArguments>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
pub(super) struct Delegate {
    parent_task_id: Option<String>,
    agent: Option<String>,
    description: String,
    ttl: Option<String>,
    #[serde(default)]
    can_delegate: bool,
    holder_pub_key: Option<String>,
    #[serde(default)]
    must_bind: bool,
    envelope: Option<NarrowingArguments>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
pub(super) struct Bind {
    task_id: String,
    holder_pub_key: String,
}

#[derive(Serialize)]
struct BoundView<'a> {
    task_id: TaskId,
    bound: bool,
    bound_at: Timestamp,
    token: String,
    token_type: &'static str,
    expires_at: Timestamp,
    agent: &'a AgentName,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptView>,
}

fn default_ttl() -> String {
    "30m".to_owned()
}

#[derive(Deserialize)]
pub(super) struct Named {
    task_id: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Created<'a> {
    task_id: TaskId,
    token: String,
    token_type: &'static str,
    expires_at: Timestamp,
    ttl_seconds: u64,
    can_delegate: bool,
    holder_bound: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bind_deadline: Option<Timestamp>,
    agent: &'a AgentName,
    envelope: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptView>,
}

/// What would be made, and nothing was.
#[derive(Serialize)]
struct Preview<'a> {
    decision: PreviewDecision,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope: Option<&'a RawValue>,
}

#[derive(Default, Serialize)]
struct PreviewDecision {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
}

impl PreviewDecision {
    fn allowed(ttl: Ttl) -> Self {
        Self {
            allowed: true,
            ttl_seconds: Some(ttl.as_secs()),
            ..Self::default()
        }
    }

    fn refused(error: &TaskError) -> Self {
        Self {
            reason: Some(error.code()),
            message: Some(error.to_string()),
            ..Self::default()
        }
    }

    fn alone(self) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput::json(&Preview {
            decision: self,
            agent: None,
            envelope: None,
        })?)
    }
}

#[derive(Serialize)]
struct TaskView<'a> {
    id: TaskId,
    description: &'a str,
    agent: &'a AgentName,
    created_at: Timestamp,
    expires_at: Timestamp,
    remaining_ttl: u64,
    is_revoked: bool,
    holder_bound: bool,
    depth: usize,
    root: TaskId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<TaskId>,
}

#[derive(Serialize)]
struct TaskFull<'a> {
    #[serde(flatten)]
    task: TaskView<'a>,
    lineage: &'a [TaskId],
    can_delegate: bool,
    envelope: &'a RawValue,
}

#[derive(Serialize)]
struct Info<'a> {
    task: TaskFull<'a>,
}

#[derive(Serialize)]
struct List<'a> {
    tasks: Vec<TaskView<'a>>,
    count: usize,
    truncated: bool,
}

#[derive(Serialize)]
struct Revoked {
    task_id: TaskId,
    revoked: bool,
    cascade_count: usize,
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tasks: Vec<TaskId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_actions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptView>,
}

impl<'a> TaskView<'a> {
    fn of(broker: &Broker, record: &'a TaskRecord, now: Timestamp) -> Self {
        Self {
            id: record.id,
            description: &record.description,
            agent: &record.agent,
            created_at: record.created,
            expires_at: record.expires,
            remaining_ttl: record.expires.since(now).as_secs(),
            is_revoked: broker.state().revoked(&record.lineage).is_some(),
            holder_bound: record.holder.is_some(),
            depth: record.depth(),
            root: record.root(),
            parent: record.parent(),
        }
    }
}

fn failed(error: &TaskError) -> ToolError {
    ToolError::with_details(error.to_string(), &error.details()).unwrap_or_else(ToolError::from)
}

/// `task_create`.
pub(super) async fn create(
    broker: Arc<Broker>,
    caller: AgentCaller,
    arguments: Create,
) -> Result<ToolOutput, ToolError> {
    let ttl = parse_ttl(&arguments.ttl)?;
    let wanted = tasks::NewRoot {
        description: arguments.description,
        ttl,
        can_delegate: arguments.can_delegate,
        holder: arguments
            .holder_pub_key
            .as_deref()
            .map(parse_holder)
            .transpose()?,
        narrowing: narrowing(arguments.envelope)?,
    };
    if arguments.dry_run {
        return match &tasks::preview_root(&broker, &caller, &wanted) {
            Ok(()) => PreviewDecision::allowed(ttl),
            Err(error) => PreviewDecision::refused(error),
        }
        .alone();
    }
    let created = tasks::create_root(&broker, &caller, wanted)
        .await
        .map_err(|e| failed(&e))?;
    created_output(&created)
}

fn created_output(created: &tasks::Created) -> Result<ToolOutput, ToolError> {
    let record = &created.record;
    Ok(ToolOutput::json(&Created {
        task_id: record.id,
        token: created.token.as_text(),
        token_type: "macaroon",
        expires_at: record.expires,
        ttl_seconds: record.expires.since(record.created).as_secs(),
        can_delegate: record.can_delegate,
        holder_bound: record.holder.is_some(),
        bind_deadline: record.bind_deadline,
        agent: &record.agent,
        envelope: raw(&record.envelope)?,
        receipt: created.receipt.as_ref().map(ReceiptView::of),
    })?)
}

/// `task_delegate`.
pub(super) async fn delegate(
    broker: Arc<Broker>,
    caller: AgentCaller,
    arguments: Delegate,
) -> Result<ToolOutput, ToolError> {
    let agent = arguments.agent.map(|name| name.parse()).transpose();
    let wanted = tasks::NewChild {
        parent: arguments
            .parent_task_id
            .as_deref()
            .map(parse_id)
            .transpose()?,
        agent: agent.map_err(|e: ephyr_names::NameError| {
            ToolError::bad_arguments(format!("argument \"agent\": {e}"))
        })?,
        description: arguments.description,
        ttl: arguments.ttl.as_deref().map(parse_ttl).transpose()?,
        can_delegate: arguments.can_delegate,
        holder: arguments
            .holder_pub_key
            .as_deref()
            .map(parse_holder)
            .transpose()?,
        must_bind: arguments.must_bind,
        narrowing: narrowing(arguments.envelope)?,
    };
    if arguments.dry_run {
        return match tasks::preview_child(&broker, &caller, wanted) {
            Ok(record) => would_be(&record),
            Err(error) => PreviewDecision::refused(&error).alone(),
        };
    }
    let created = tasks::delegate(&broker, &caller, wanted)
        .await
        .map_err(|e| failed(&e))?;
    created_output(&created)
}

fn would_be(child: &TaskRecord) -> Result<ToolOutput, ToolError> {
    Ok(ToolOutput::json(&Preview {
        decision: PreviewDecision::allowed(child.expires.since(child.created)),
        agent: Some(&child.agent),
        envelope: Some(raw(&child.envelope)?),
    })?)
}

/// `task_bind`.
pub(super) async fn bind(
    broker: Arc<Broker>,
    caller: AgentCaller,
    arguments: Bind,
) -> Result<ToolOutput, ToolError> {
    let (task, holder) = (
        parse_id(&arguments.task_id)?,
        parse_holder(&arguments.holder_pub_key)?,
    );
    let bound = tasks::bind(&broker, &caller, task, holder)
        .await
        .map_err(|e| failed(&e))?;
    Ok(ToolOutput::json(&BoundView {
        task_id: task,
        bound: true,
        bound_at: bound.at,
        token: bound.token.as_text(),
        token_type: "macaroon",
        expires_at: bound.record.expires,
        agent: &bound.record.agent,
        receipt: bound.receipt.as_ref().map(ReceiptView::of),
    })?)
}

fn parse_ttl(text: &str) -> Result<Ttl, ToolError> {
    text.parse()
        .map_err(|error| ToolError::bad_arguments(format!("argument \"ttl\": {error}")))
}

fn parse_holder(text: &str) -> Result<HolderKey, ToolError> {
    text.parse()
        .map_err(|error| ToolError::bad_arguments(format!("argument \"holder_pub_key\": {error}")))
}

fn narrowing(arguments: Option<NarrowingArguments>) -> Result<Narrowing, ToolError> {
    let narrowing = arguments.unwrap_or_default().into_narrowing();
    narrowing.map_err(|error| ToolError::bad_arguments(format!("argument \"envelope\": {error}")))
}

fn raw(json: &str) -> Result<&RawValue, ToolError> {
    serde_json::from_str(json).map_err(|_| ToolError::internal("the task's envelope is unreadable"))
}

/// `task_info`.
pub(super) fn info(
    broker: &Broker,
    caller: &AgentCaller,
    arguments: &Named,
) -> Result<ToolOutput, ToolError> {
    let id = match &arguments.task_id {
        Some(text) => parse_id(text)?,
        None => caller.task().ok_or_else(|| {
            ToolError::bad_arguments("argument \"task_id\" is needed: without a token there is no task of your own; see task_list")
        })?,
    };
    let record = tasks::find(broker, caller, id).map_err(|e| failed(&e))?;
    let task = TaskFull {
        task: TaskView::of(broker, &record, clock::now()),
        lineage: &record.lineage,
        can_delegate: record.can_delegate,
        envelope: raw(&record.envelope)?,
    };
    Ok(ToolOutput::json(&Info { task })?)
}

/// `task_list`.
pub(super) fn list(broker: &Broker, caller: &AgentCaller) -> Result<ToolOutput, ToolError> {
    let (newest, count) = tasks::visible(broker, caller, MOST_LISTED);
    let mut described = 0;
    let short = newest.iter().rev().take_while(|record| {
        described += record.description.len();
        described <= MOST_DESCRIBED
    });
    let listed = &newest[newest.len() - short.count()..];
    let now = clock::now();
    let tasks = listed
        .iter()
        .map(|record| TaskView::of(broker, record, now))
        .collect();
    let list = List {
        tasks,
        count,
        truncated: listed.len() < count,
    };
    Ok(ToolOutput::json(&list)?)
}

/// `task_revoke`.
pub(super) async fn revoke(
    broker: Arc<Broker>,
    caller: AgentCaller,
    arguments: Named,
) -> Result<ToolOutput, ToolError> {
    let Some(text) = &arguments.task_id else {
        return Err(ToolError::bad_arguments("argument \"task_id\" is missing"));
    };
    let id = parse_id(text)?;
    if arguments.dry_run {
        let record = tasks::find_to_revoke(&broker, &caller, id).map_err(|e| failed(&e))?;
        let mut tasks = tasks::below(&broker, &caller, record.id).await;
        let cascade_count = tasks.len();
        tasks.truncate(MOST_LISTED);
        let truncated = tasks.len() < cascade_count;
        let status = if truncated {
            "nothing was revoked: these tasks and more would fall, cascade_count in all"
        } else {
            "nothing was revoked: these tasks would fall"
        };
        let preview = Revoked {
            task_id: id,
            revoked: false,
            cascade_count,
            status,
            tasks,
            truncated,
            ended_actions: None,
            receipt: None,
        };
        return Ok(ToolOutput::json(&preview)?);
    }
    let done = tasks::revoke(&broker, &caller, id)
        .await
        .map_err(|e| failed(&e))?;
    Ok(ToolOutput::json(&Revoked {
        task_id: id,
        revoked: true,
        cascade_count: done.cascade,
        status: "all tokens invalidated",
        tasks: Vec::new(),
        truncated: false,
        ended_actions: Some(done.ended),
        receipt: done.receipt.as_ref().map(ReceiptView::of),
    })?)
}

fn parse_id(text: &str) -> Result<TaskId, ToolError> {
    text.parse()
        .map_err(|error| ToolError::bad_arguments(format!("argument \"task_id\": {error}")))
}
