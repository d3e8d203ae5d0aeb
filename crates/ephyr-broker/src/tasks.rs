//! Making, finding and revoking tasks: the rules of the tree, whichever way the request came in.

use std::sync::Arc;

use ephyr_audit::{ActionInfo, ActionKind, AuditError, Event, Record};
use ephyr_names::{AgentName, TaskId, Timestamp, Ttl};
use ephyr_token::{
    Envelope, Grants, HolderKey, MAX_DEPTH, MintError, Receipt, RootSpec, Scope, Token, mint_root,
};
use serde::Serialize;

use crate::auth::{Caller, Via};
use crate::broker::Broker;
use crate::clock;
use crate::state::{StateError, TaskRecord};

/// A root task's longest life.
pub const MAX_ROOT_TTL: Ttl = Ttl::from_secs(3600);

/// What a new root task should be.
pub struct NewRoot {
    /// What it is for.
    pub description: String,
    /// How long it lives.
    pub ttl: Ttl,
    /// Whether it may have children.
    pub can_delegate: bool,
    /// The key to bind it to.
    pub holder: Option<HolderKey>,
}

/// A task that was made.
pub struct Created {
    /// The task.
    pub record: TaskRecord,
    /// Its first token.
    pub token: Token,
    /// Proof that it was recorded.
    pub receipt: Option<Receipt>,
}

/// A task that was revoked.
pub struct Revoked {
    /// How many tasks fell, itself included.
    pub cascade: usize,
    /// How many running actions were ended.
    pub ended: usize,
    /// Proof that it was recorded.
    pub receipt: Option<Receipt>,
}

/// Why a task was not made, found or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Not there, over, or somebody else's: the three look alike.
    #[error("task {0} is not there: it never was, has ended, or is not yours; see task_list")]
    NotFound(TaskId),
    /// A token's holder asked for a root.
    #[error(
        "a task token makes no root task: call task_create with your API key, or over the Unix socket without a token"
    )]
    TokenMakesNoRoot,
    /// The agent acts only by delegated tokens.
    #[error("agent {0} acts only by tokens that another agent delegates to it (delegated_only)")]
    DelegatedOnly(AgentName),
    /// Tokens of this agent must be bound.
    #[error("agent {0} needs bound tokens (require_pop): give holder_pub_key")]
    HolderRequired(AgentName),
    /// The policy does not know the agent any more.
    #[error("the policy does not know agent {0}")]
    AgentUnknown(AgentName),
    /// Too long, or no time at all.
    #[error("ttl must be between 1s and {MAX_ROOT_TTL}")]
    Ttl,
    /// No epoch may mint.
    #[error(
        "no token can be made now: the signer has not delegated to this broker; is ephyr-signer running?"
    )]
    NoEpoch,
    /// The token could not be made.
    #[error("the token cannot be made: {0}")]
    Mint(#[from] MintError),
    /// The state could not be changed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The audit log could not be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// What programs read of a [`TaskError`].
#[derive(Serialize)]
pub struct Details {
    reason: &'static str,
}

impl TaskError {
    /// Why, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "task_not_found",
            Self::TokenMakesNoRoot => "token_makes_no_root",
            Self::DelegatedOnly(_) => "delegated_only",
            Self::HolderRequired(_) => "holder_required",
            Self::AgentUnknown(_) => "agent_unknown",
            Self::Ttl => "ttl_out_of_range",
            Self::NoEpoch => "no_epoch",
            Self::Mint(_) => "mint_refused",
            Self::State(StateError::Revoked(_)) => "task_revoked",
            Self::State(StateError::TooManyTasks(_)) => "too_many_tasks",
            Self::State(StateError::Journal(_)) => "state_unavailable",
            Self::Audit(_) => "audit_unavailable",
        }
    }

    /// The particulars for programs.
    #[must_use]
    pub fn details(&self) -> Details {
        Details {
            reason: self.code(),
        }
    }
}

/// Whether a caller may make such a root.
///
/// # Errors
/// Why not.
pub fn check_root(
    broker: &Broker,
    caller: &Caller,
    wanted: &NewRoot,
    now: Timestamp,
) -> Result<(), TaskError> {
    // A token that could make a root would outlive its own task and shed its lineage.
    if caller.via() == Via::Token {
        return Err(TaskError::TokenMakesNoRoot);
    }
    let policy = broker.policy();
    let Some(agent) = policy.agent(caller.agent()) else {
        return Err(TaskError::AgentUnknown(caller.agent().clone()));
    };
    if agent.delegated_only {
        return Err(TaskError::DelegatedOnly(agent.name.clone()));
    }
    if agent.require_pop && wanted.holder.is_none() {
        return Err(TaskError::HolderRequired(agent.name.clone()));
    }
    if wanted.ttl.is_zero() || wanted.ttl > MAX_ROOT_TTL {
        return Err(TaskError::Ttl);
    }
    broker
        .state()
        .minting_epoch(now)
        .ok_or(TaskError::NoEpoch)?;
    Ok(())
}

/// Makes a root task.
///
/// # Errors
/// [`TaskError`]; nothing was made then.
pub async fn create_root(
    broker: &Arc<Broker>,
    caller: &Caller,
    wanted: NewRoot,
) -> Result<Created, TaskError> {
    let now = clock::now();
    if let Err(error) = check_root(broker, caller, &wanted, now) {
        return Err(refused(broker, caller, "task_create", error));
    }
    let epoch = broker
        .state()
        .minting_epoch(now)
        .ok_or(TaskError::NoEpoch)?;
    let id = clock::task_id(now);
    let expires = now.after(wanted.ttl).min(epoch.valid_until());
    let spec = RootSpec {
        task: id,
        agent: caller.agent().clone(),
        holder: wanted.holder,
        initiated_by: initiator(caller).parse().ok(),
        envelope: open_envelope(expires, wanted.can_delegate),
    };
    let token = mint_root(&epoch.root_key(id), epoch.id(), &spec)?;
    let record = TaskRecord {
        id,
        lineage: Box::new([id]),
        epoch: epoch.id(),
        agent: caller.agent().clone(),
        initiated_by: caller.agent().clone(),
        description: wanted.description.into(),
        created: now,
        expires: token_expiry(expires),
        can_delegate: wanted.can_delegate,
        holder: wanted.holder,
        bind_deadline: None,
        envelope: serde_json::to_string(&spec.envelope)
            .unwrap_or_else(|_| "{}".to_owned())
            .into(),
    };
    let attempt = task_record(broker, Event::TaskCreateAttempt, caller, &record)
        .with_detail("description", &*record.description)
        .with_detail("ttl", wanted.ttl.to_string());
    let appended = broker.audit().durable(&attempt).await?;
    let made = broker.state().create_task(record.clone());
    let mut outcome = task_record(broker, Event::TaskCreated, caller, &record);
    outcome.attempt = Some(appended.id);
    if let Err(error) = &made {
        outcome = outcome.with_detail("error", error.to_string());
    }
    broker.audit().note(outcome);
    made?;
    Ok(Created {
        record,
        token,
        receipt: broker.receipt(appended),
    })
}

/// Tokens carry whole seconds.
fn token_expiry(expires: Timestamp) -> Timestamp {
    Timestamp::from_unix_seconds(expires.unix_seconds())
}

fn initiator(caller: &Caller) -> String {
    match caller.via() {
        Via::Uid(uid) => format!("uid:{uid}"),
        Via::Key | Via::Token => format!("{}:{}", caller.via().as_str(), caller.agent()),
    }
}

/// Everything that the policy gives the agent, now or later.
fn open_envelope(expires: Timestamp, can_delegate: bool) -> Envelope {
    Envelope {
        ssh: Grants::Any,
        http: Grants::Any,
        mcp: Grants::Any,
        targets: Scope::Any,
        roles: Scope::Any,
        services: Scope::Any,
        methods: Scope::Any,
        remotes: Scope::Any,
        expires: token_expiry(expires),
        can_delegate,
        delegation_depth: if can_delegate { MAX_DEPTH } else { 0 },
    }
}

/// The task of this id, if it is the caller's to see: with a token its own task and those below, else
/// those of the agent.
///
/// # Errors
/// [`TaskError::NotFound`].
pub fn find(broker: &Broker, caller: &Caller, id: TaskId) -> Result<Arc<TaskRecord>, TaskError> {
    let record = broker
        .state()
        .task(id)
        .filter(|record| is_visible(caller, record));
    record.ok_or(TaskError::NotFound(id))
}

/// The tasks that are the caller's to see, oldest first.
#[must_use]
pub fn visible(broker: &Broker, caller: &Caller) -> Vec<Arc<TaskRecord>> {
    match caller.task() {
        Some(task) => {
            let subtree = broker.state().subtree(task);
            subtree
                .into_iter()
                .filter_map(|id| broker.state().task(id))
                .collect()
        }
        None => broker.state().tasks(|record| is_visible(caller, record)),
    }
}

fn is_visible(caller: &Caller, record: &TaskRecord) -> bool {
    match caller.task() {
        Some(task) => record.lineage.contains(&task),
        // Its own tasks, and those that grew below them.
        None => record.agent == *caller.agent() || record.initiated_by == *caller.agent(),
    }
}

/// Revokes a task and all below it and ends what runs for them. Revoking again answers the same. A
/// certificate that is in the agent's own hands keeps its slot until it ends, since nothing takes it away.
///
/// # Errors
/// [`TaskError`]; nothing was revoked then.
pub async fn revoke(
    broker: &Arc<Broker>,
    caller: &Caller,
    id: TaskId,
) -> Result<Revoked, TaskError> {
    let record =
        find(broker, caller, id).map_err(|error| refused(broker, caller, "task_revoke", error))?;
    let attempt = task_record(broker, Event::TaskRevokeAttempt, caller, &record);
    let appended = broker.audit().durable(&attempt).await?;
    let revoked = broker.state().revoke(&record, clock::now());
    let mut outcome = task_record(broker, Event::TaskRevoked, caller, &record);
    outcome.attempt = Some(appended.id);
    if let Err(error) = revoked {
        broker
            .audit()
            .note(outcome.with_detail("error", error.to_string()));
        return Err(error.into());
    }
    let ended = broker.live().end_task(id);
    let cascade = broker.state().subtree(id).len();
    let outcome = outcome
        .with_detail("tasks", cascade.to_string())
        .with_detail("ended", ended.to_string());
    broker.audit().note(outcome);
    Ok(Revoked {
        cascade,
        ended,
        receipt: broker.receipt(appended),
    })
}

/// A record about a task, under that task's own lineage.
fn task_record(broker: &Broker, event: Event, caller: &Caller, task: &TaskRecord) -> Record {
    let mut record = broker
        .own_record(event)
        .with_lineage(task.lineage.iter().copied());
    record.agent = Some(caller.agent().clone());
    record.action = Some(ActionInfo::new(ActionKind::Task));
    record
}

fn refused(broker: &Broker, caller: &Caller, tool: &'static str, error: TaskError) -> TaskError {
    let mut record = broker
        .record(Event::Denied, caller)
        .with_detail("error", error.to_string());
    let mut action = ActionInfo::new(ActionKind::Task);
    action.tool = tool.parse().ok();
    record.action = Some(action);
    record.decision = Some(ephyr_audit::DecisionInfo {
        step: None,
        reason: error.code().into(),
        rule: None,
    });
    broker.audit().note(record);
    error
}
