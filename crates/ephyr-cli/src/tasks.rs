//! `ephyr task`: create, show, bind and revoke tasks.

mod tree;

use std::process::ExitCode;

use ephyr_api::{
    BoundTask, CreatedTask, DryRun, RevokedTask, TaskBindArguments, TaskCreateArguments,
    TaskDelegateArguments, TaskInfo, TaskInfoArguments, TaskListArguments, TaskPreview,
    TaskRevokeArguments, ToolArguments,
};
use ephyr_names::{RoleName, TargetName, TaskId, Timestamp};
use ephyr_token::NarrowingArguments;
use serde_json::Value;

use crate::args::Task;
use crate::broker::{self, Answer, PATIENCE};
use crate::endpoint::Endpoint;
use crate::failure::{DENIED, Failure};
use crate::fields::{fields, received_envelope};
use crate::holder::Holder;
use crate::lists::list;
use crate::output::{Output, plain};

pub(crate) fn run(endpoint: &Endpoint, task: &Task, output: &Output) -> Result<ExitCode, Failure> {
    match task {
        Task::Create {
            description,
            ttl,
            can_delegate,
            token_only,
            dry_run,
        } => {
            let holder = endpoint.holder.as_ref();
            let arguments = TaskCreateArguments {
                description: description.clone(),
                ttl: ttl.to_string(),
                can_delegate: *can_delegate,
                // Bound from the beginning, as the policy may want it (`require_pop`).
                holder_pub_key: holder.map(Holder::public).transpose()?,
                envelope: None,
                dry_run: false,
            };
            make(endpoint, arguments, *dry_run, *token_only, output)
        }
        Task::Delegate {
            description,
            agent,
            ttl,
            can_delegate,
            must_bind,
            keep,
            token_only,
            dry_run,
        } => {
            let arguments = TaskDelegateArguments {
                parent_task_id: None,
                agent: agent.as_ref().map(ToString::to_string),
                description: description.clone(),
                ttl: ttl.map(|ttl| ttl.to_string()),
                can_delegate: *can_delegate,
                holder_pub_key: None,
                must_bind: *must_bind,
                envelope: kept(keep),
                dry_run: false,
            };
            make(endpoint, arguments, *dry_run, *token_only, output)
        }
        Task::Bind { token_only } => show_bound(endpoint, *token_only, output),
        Task::Tree => {
            let answer = call(endpoint, &TaskListArguments {})?;
            output.show(&answer.received, || tree::tree(&answer.value.tasks))?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Info { task } => {
            let task_id = task.map(|task| task.to_string());
            let answer = call(endpoint, &TaskInfoArguments { task_id })?;
            let shown = shown(&answer.value)?;
            output.show(&answer.received, || shown)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::List => listed(endpoint, output),
        Task::Revoke { task, dry_run } => revoke(endpoint, *task, *dry_run, output),
    }
}

fn call<A: ToolArguments>(
    endpoint: &Endpoint,
    arguments: &A,
) -> Result<Answer<A::Result>, Failure> {
    broker::call(endpoint, arguments, PATIENCE)
}

fn preview<A: DryRun>(endpoint: &Endpoint, arguments: A) -> Result<Answer<A::Preview>, Failure> {
    broker::preview(endpoint, arguments, PATIENCE)
}

/// Makes a task, or shows what would be made.
fn make<A>(
    endpoint: &Endpoint,
    arguments: A,
    dry_run: bool,
    token_only: bool,
    output: &Output,
) -> Result<ExitCode, Failure>
where
    A: DryRun<Result = CreatedTask<'static>, Preview = TaskPreview<'static>>,
{
    if dry_run {
        return would_be(&preview(endpoint, arguments)?, output);
    }
    let answer = call(endpoint, &arguments)?;
    Made::from(&answer.value).show(&answer.received, token_only, output)
}

/// Returns the restriction to the roles on targets that a child keeps.
fn kept(keep: &[(TargetName, RoleName)]) -> Option<NarrowingArguments> {
    if keep.is_empty() {
        return None;
    }
    let mut arguments = NarrowingArguments::default();
    let roles = arguments.ssh.get_or_insert_default();
    for (target, role) in keep {
        let roles = roles.entry(target.to_string()).or_default();
        roles.insert(role.to_string());
    }
    Some(arguments)
}

/// Shows what would be made; where it would be refused, the exit status is that of a refusal.
fn would_be(answer: &Answer<TaskPreview<'_>>, output: &Output) -> Result<ExitCode, Failure> {
    let TaskPreview {
        decision, envelope, ..
    } = &answer.value;
    let envelope = envelope.as_ref().map(received_envelope).transpose()?;
    output.show(&answer.received, || {
        if !decision.allowed {
            let text = |text: &Option<_>| text.as_deref().map(plain).unwrap_or_default();
            let (reason, message) = (text(&decision.reason), text(&decision.message));
            return format!("nothing was made, and it would be refused ({reason}): {message}\n");
        }
        let seconds = decision.ttl_seconds.unwrap_or_default();
        let mut shown = format!("nothing was made; it would live for {seconds} s\n");
        if let Some(envelope) = envelope {
            shown.push_str("and be allowed at most, within the policy:\n");
            shown.push_str(&envelope);
        }
        shown
    })?;
    Ok(if decision.allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DENIED)
    })
}

/// Formats a task for people.
fn shown(info: &TaskInfo<'_>) -> Result<String, Failure> {
    let mut members = serde_json::to_value(&info.task).map_err(Failure::protocol)?;
    // Shown last, as a block.
    if let Some(members) = members.as_object_mut() {
        members.remove("envelope");
    }
    let envelope = received_envelope(&info.task.envelope)?;
    Ok(format!("{}envelope:\n{envelope}", fields(&members, 0)))
}

fn listed(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let answer = call(endpoint, &TaskListArguments {})?;
    list(
        &answer.value.tasks,
        output,
        &answer.received,
        &["TASK", "AGENT", "DEPTH", "LEFT", "STATE", "FOR"],
        "you have no task",
        |task| {
            let state = if task.is_revoked { "revoked" } else { "live" };
            vec![
                task.id.to_string(),
                task.agent.to_string(),
                task.depth.to_string(),
                format!("{} s", task.remaining_ttl),
                state.to_owned(),
                plain(&task.description),
            ]
        },
    )
}

fn revoke(
    endpoint: &Endpoint,
    task: TaskId,
    dry_run: bool,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let arguments = TaskRevokeArguments {
        task_id: task.to_string(),
        dry_run: false,
    };
    if dry_run {
        let answer = preview(endpoint, arguments)?;
        output.show(&answer.received, || would_fall(&answer.value))?;
    } else {
        let answer = call(endpoint, &arguments)?;
        output.show(&answer.received, || match answer.value.cascade_count {
            1 => format!("revoked {task}\n"),
            count => format!("revoked {task}: {count} tasks in all, itself included\n"),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn would_fall(revoked: &RevokedTask<'_>) -> String {
    let count = revoked.cascade_count;
    let mut shown = format!("nothing was revoked; {count} tasks would fall:\n");
    for task in &revoked.tasks {
        shown.push_str(&format!("  {task}\n"));
    }
    if revoked.tasks.len() != count {
        shown.push_str("  and more\n");
    }
    shown
}

/// Binds the token's task to the key that was given, and shows the new token.
fn show_bound(endpoint: &Endpoint, token_only: bool, output: &Output) -> Result<ExitCode, Failure> {
    if endpoint.holder.is_none() {
        let why = "binding needs a key: make one with `ssh-keygen -t ed25519 -N '' -f FILE` and \
                   give it with --holder-key FILE";
        return Err(Failure::usage(why));
    }
    let answer = bind_call(endpoint)?;
    let made = Made {
        task: answer.value.task_id,
        expires: answer.value.expires_at,
        bind_deadline: None,
        token: answer.value.token.as_str(),
    };
    made.show(&answer.received, token_only, output)
}

/// A task just made or bound.
struct Made<'a> {
    task: TaskId,
    expires: Timestamp,
    bind_deadline: Option<Timestamp>,
    token: &'a str,
}

impl<'a> From<&'a CreatedTask<'_>> for Made<'a> {
    fn from(created: &'a CreatedTask<'_>) -> Self {
        Self {
            task: created.task_id,
            expires: created.expires_at,
            bind_deadline: created.bind_deadline,
            token: created.token.as_str(),
        }
    }
}

impl Made<'_> {
    /// Shows the task, or its token alone.
    fn show(
        &self,
        received: &Value,
        token_only: bool,
        output: &Output,
    ) -> Result<ExitCode, Failure> {
        output.show(received, || {
            let token = plain(self.token);
            if token_only {
                return token;
            }
            let (id, end) = (self.task, self.expires);
            let bind = match self.bind_deadline {
                Some(deadline) => format!("to be bound by: {deadline}\n"),
                None => String::new(),
            };
            format!("task:    {id}\nexpires: {end}\n{bind}token:   {token}\n")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Binds the endpoint's token to its key; the endpoint goes on with the bound one.
///
/// # Errors
/// There is no token, or the broker refuses.
pub(crate) fn bind(endpoint: Endpoint) -> Result<Endpoint, Failure> {
    let bound = bind_call(&endpoint)?.value;
    endpoint.with_token(bound.token.as_str().to_owned())
}

fn bind_call(endpoint: &Endpoint) -> Result<Answer<BoundTask<'static>>, Failure> {
    let (Some(token), Some(holder)) = (&endpoint.token, &endpoint.holder) else {
        let why = "binding needs the task's token, in EPHYR_TOKEN or --credential-file";
        return Err(Failure::usage(why));
    };
    let said = ephyr_token::explain(token).map_err(|error| Failure::data(error.to_string()))?;
    let task = said
        .segments
        .last()
        .map_or(said.root, |segment| segment.task);
    let arguments = TaskBindArguments {
        task_id: task.to_string(),
        holder_pub_key: holder.public()?,
    };
    call(endpoint, &arguments)
}
