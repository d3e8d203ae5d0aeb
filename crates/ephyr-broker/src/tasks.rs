//! Making, finding and revoking tasks: the rules of the tree, whichever way the request came in.

mod error;

use std::sync::Arc;

use ephyr_audit::{ActionInfo, ActionKind, Event, Record};
use ephyr_names::{AgentName, TaskId, Timestamp, Ttl};
use ephyr_token::{
    ChildSpec, Envelope, HolderKey, MAX_DEPTH, MintError, Narrowing, Receipt, RootSpec, Token,
    VerifiedToken, mint_child, mint_root, rebind,
};

pub use self::error::{Details, TaskError};
use crate::auth::{Caller, Via};
use crate::broker::Broker;
use crate::clock;
use crate::epoch::Epoch;
use crate::state::{Binding, TaskRecord};

/// A child's life where none is asked for.
pub const CHILD_TTL: Ttl = Ttl::from_secs(600);
/// How long a child that must be bound may stay unbound.
pub const BIND_TIME: Ttl = Ttl::from_secs(30);
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
    /// What it is held to from the start.
    pub narrowing: Narrowing,
}

/// What a new task below another should be.
pub struct NewChild {
    /// The task that it is asked to be below; that of the caller's token if it is not said.
    pub parent: Option<TaskId>,
    /// Whose it is; the caller's own agent if it is not said.
    pub agent: Option<AgentName>,
    /// What it is for.
    pub description: String,
    /// How long it lives; [`CHILD_TTL`], or what is left of its parent, if it is not said.
    pub ttl: Option<Ttl>,
    /// Whether it may have children.
    pub can_delegate: bool,
    /// The key to bind it to.
    pub holder: Option<HolderKey>,
    /// Whether it must be bound within [`BIND_TIME`], where no key is given.
    pub must_bind: bool,
    /// What it keeps of its parent's authority.
    pub narrowing: Narrowing,
}

/// A task that was bound.
pub struct Bound {
    /// The task.
    pub record: Arc<TaskRecord>,
    /// Its token from here on.
    pub token: Token,
    /// When.
    pub at: Timestamp,
    /// Proof that it was recorded.
    pub receipt: Option<Receipt>,
}

/// A task that was made.
pub struct Created {
    /// The task.
    pub record: Arc<TaskRecord>,
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

/// What [`create_root`] would answer, without making anything.
///
/// # Errors
/// [`TaskError`] as [`create_root`] would give it.
pub fn preview_root(broker: &Broker, caller: &Caller, wanted: &NewRoot) -> Result<(), TaskError> {
    check_root(broker, caller, wanted, clock::now())?;
    // Of the envelope's length nothing is known before it is made.
    let texts = wanted.description.len();
    broker.state().check_room(caller.agent(), &[], texts)?;
    Ok(())
}

/// Whether a caller may make such a root; gives the epoch to make it in.
fn check_root(
    broker: &Broker,
    caller: &Caller,
    wanted: &NewRoot,
    now: Timestamp,
) -> Result<Arc<Epoch>, TaskError> {
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
    let epoch = broker.state().minting_epoch(now);
    epoch.ok_or(TaskError::NoEpoch)
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
    let epoch = match check_root(broker, caller, &wanted, now) {
        Ok(epoch) => epoch,
        Err(error) => return Err(refused(broker, caller, "task_create", error)),
    };
    let id = clock::task_id(now);
    let expires = now.after(wanted.ttl).min(epoch.valid_until());
    let spec = RootSpec {
        task: id,
        agent: caller.agent().clone(),
        holder: wanted.holder,
        initiated_by: initiator(caller).parse().ok(),
        envelope: root_envelope(expires, wanted.can_delegate, wanted.narrowing),
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
    create(broker, caller, record, token).await
}

/// The attempt on disk, then the task, then the outcome.
async fn create(
    broker: &Arc<Broker>,
    caller: &Caller,
    record: TaskRecord,
    token: Token,
) -> Result<Created, TaskError> {
    let attempt = task_record(broker, Event::TaskCreateAttempt, caller, &record)
        .with_detail("description", &*record.description)
        .with_detail("for", record.agent.as_str())
        .with_detail("expires", record.expires.to_string());
    let appended = broker.audit().durable(&attempt).await?;
    let record = Arc::new(record);
    let made = broker.state().create_task(Arc::clone(&record));
    let mut outcome = outcome_of(broker, Event::TaskCreated, attempt);
    outcome.attempt = Some(appended.id);
    if let Err(error) = &made {
        outcome = outcome.with_detail("error", error.to_string());
    }
    broker.audit().note(outcome);
    made?;
    let receipt = broker.receipt(appended);
    Ok(Created {
        record,
        token,
        receipt,
    })
}

/// A record about what an attempt was about.
fn outcome_of(broker: &Broker, event: Event, attempt: Record) -> Record {
    let Record {
        agent,
        task,
        root,
        lineage,
        action,
        ..
    } = attempt;
    Record {
        agent,
        task,
        root,
        lineage,
        action,
        ..broker.own_record(event)
    }
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

/// Everything that the policy gives the agent, now or later, but for what the task is held to.
fn root_envelope(expires: Timestamp, can_delegate: bool, narrowing: Narrowing) -> Envelope {
    let depth = if can_delegate { MAX_DEPTH } else { 0 };
    narrowing.of(Envelope::any(token_expiry(expires), can_delegate, depth))
}

/// The caller's token and its task, which must be `task` where that is said.
fn own_task<'c>(
    broker: &Broker,
    caller: &'c Caller,
    task: Option<TaskId>,
) -> Result<(&'c VerifiedToken, Arc<TaskRecord>), TaskError> {
    let token = caller.token().ok_or(TaskError::TokenRequired)?;
    if task.is_some_and(|task| task != token.task()) {
        return Err(TaskError::NotYourTask(token.task()));
    }
    let record = broker.state().task(token.task());
    record
        .map(|record| (token, record))
        .ok_or(TaskError::NotFound(token.task()))
}

/// Refuses a token that a holder narrowed. The holder of the full token keeps the task: binding would lock out
/// holders of a fuller token, and revoking would end their work.
fn refuse_narrowed(caller: &Caller) -> Result<(), TaskError> {
    if caller.token().is_some_and(VerifiedToken::is_narrowed) {
        return Err(TaskError::NarrowedToken);
    }
    Ok(())
}

/// Makes a task below the one of the caller's token, for the same agent or for one that takes its
/// delegations.
///
/// # Errors
/// [`TaskError`]; nothing was made then.
pub async fn delegate(
    broker: &Arc<Broker>,
    caller: &Caller,
    wanted: NewChild,
) -> Result<Created, TaskError> {
    let now = clock::now();
    let (token, record) = match prepare_child(broker, caller, wanted, now) {
        Ok(prepared) => prepared,
        Err(error) => {
            let error = refused(broker, caller, "task_delegate", error);
            return Err(error.told(caller.agent()));
        }
    };
    create(broker, caller, record, token).await
}

/// What [`delegate`] would make, without making it.
///
/// # Errors
/// [`TaskError`] as [`delegate`] would give it.
pub fn preview_child(
    broker: &Broker,
    caller: &Caller,
    wanted: NewChild,
) -> Result<TaskRecord, TaskError> {
    let (_, record) = prepare_child(broker, caller, wanted, clock::now())
        .map_err(|error| error.told(caller.agent()))?;
    let texts = record.description.len() + record.envelope.len();
    broker
        .state()
        .check_room(&record.initiated_by, &record.lineage, texts)?;
    Ok(record)
}

fn prepare_child(
    broker: &Broker,
    caller: &Caller,
    wanted: NewChild,
    now: Timestamp,
) -> Result<(Token, TaskRecord), TaskError> {
    let (parent_token, parent) = own_task(broker, caller, wanted.parent)?;
    let agent = wanted.agent.unwrap_or_else(|| caller.agent().clone());
    let policy = broker.policy();
    let Some(known) = policy.agent(&agent) else {
        return Err(TaskError::AgentUnknown(agent));
    };
    if agent != *caller.agent() && !known.accept_delegation_from.contains(caller.agent()) {
        return Err(TaskError::DelegationNotAccepted {
            from: caller.agent().clone(),
            to: agent,
        });
    }
    if !parent_token.envelope().can_delegate {
        return Err(MintError::MayNotDelegate.into());
    }
    let left = parent_token.envelope().expires.since(now);
    let ttl = wanted.ttl.unwrap_or(CHILD_TTL.min(left));
    if ttl.is_zero() || ttl > left {
        return Err(TaskError::ChildTtl(left));
    }
    // Minting needs a delegation that is in force, also where the tree is of an older epoch.
    broker
        .state()
        .minting_epoch(now)
        .ok_or(TaskError::NoEpoch)?;
    let epoch = broker
        .state()
        .epoch(parent_token.epoch())
        .ok_or(TaskError::NoEpoch)?;
    let id = clock::task_id(now);
    let expires = token_expiry(now.after(ttl));
    let spec = ChildSpec {
        task: id,
        agent: agent.clone(),
        holder: wanted.holder,
        narrowing: wanted.narrowing,
        expires,
        can_delegate: wanted.can_delegate,
        delegation_depth: None,
    };
    let key = epoch.root_key(parent_token.root());
    let token = mint_child(&key, parent_token, &spec)?;
    let envelope = ephyr_token::UnverifiedToken::from(token.clone()).verify(&key);
    let envelope = envelope
        .ok()
        .and_then(|token| serde_json::to_string(token.envelope()).ok());
    let must_bind = wanted.holder.is_none() && (wanted.must_bind || known.require_pop);
    let mut lineage = parent.lineage.to_vec();
    lineage.push(id);
    let record = TaskRecord {
        id,
        lineage: lineage.into(),
        epoch: epoch.id(),
        agent,
        initiated_by: parent.initiated_by.clone(),
        description: wanted.description.into(),
        created: now,
        expires,
        can_delegate: wanted.can_delegate,
        holder: wanted.holder,
        bind_deadline: must_bind.then(|| now.after(BIND_TIME)),
        envelope: envelope.unwrap_or_else(|| "{}".to_owned()).into(),
    };
    Ok((token, record))
}

/// Binds the task of the caller's token to a key that the caller proves to have. The unbound token is
/// dead from here on; binding again with the same key gives the same answer.
///
/// # Errors
/// [`TaskError`]; nothing was bound then.
pub async fn bind(
    broker: &Arc<Broker>,
    caller: &Caller,
    task: TaskId,
    holder: HolderKey,
) -> Result<Bound, TaskError> {
    let checked = own_task(broker, caller, Some(task)).and_then(|(token, record)| {
        refuse_narrowed(caller)?;
        caller
            .proves(broker, &holder)
            .map_err(|error| TaskError::Proof(error.to_string()))?;
        let epoch = broker
            .state()
            .epoch(token.epoch())
            .ok_or(TaskError::NoEpoch)?;
        let bound = rebind(&epoch.root_key(token.root()), token, &holder)?;
        Ok((bound, record))
    });
    let (token, record) = match checked {
        Ok(checked) => checked,
        Err(error) => return Err(refused(broker, caller, "task_bind", error)),
    };
    let attempt = task_record(broker, Event::TaskBindAttempt, caller, &record)
        .with_detail("holder", holder.to_string());
    let appended = broker.audit().durable(&attempt).await?;
    let at = clock::now();
    let bound = broker.state().bind(Binding { task, holder }, at);
    let mut outcome = task_record(broker, Event::TaskBound, caller, &record);
    outcome.attempt = Some(appended.id);
    if let Err(error) = &bound {
        outcome = outcome.with_detail("error", error.to_string());
    }
    broker.audit().note(outcome);
    bound?;
    let record = broker.state().task(task).unwrap_or(record);
    Ok(Bound {
        record,
        token,
        at,
        receipt: broker.receipt(appended),
    })
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

/// Returns the task of this id, if the caller may revoke it.
///
/// # Errors
/// [`TaskError::NotFound`] as [`find`], and [`TaskError::NarrowedToken`].
pub fn find_to_revoke(
    broker: &Broker,
    caller: &Caller,
    id: TaskId,
) -> Result<Arc<TaskRecord>, TaskError> {
    let record = find(broker, caller, id)?;
    refuse_narrowed(caller)?;
    Ok(record)
}

/// The newest tasks that are the caller's to see, at most `most`, the oldest of them first; and how many
/// there are.
#[must_use]
pub fn visible(broker: &Broker, caller: &Caller, most: usize) -> (Vec<Arc<TaskRecord>>, usize) {
    let Some(task) = caller.task() else {
        return broker.state().newest_of(caller.agent(), most);
    };
    let mut subtree = broker.state().subtree(task);
    let count = subtree.len();
    // Ids are in order of time.
    subtree.sort_unstable();
    let newest = subtree.split_off(count.saturating_sub(most));
    let found = newest.into_iter().filter_map(|id| broker.state().task(id));
    (found.collect(), count)
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
    let record = find_to_revoke(broker, caller, id)
        .map_err(|error| refused(broker, caller, "task_revoke", error))?;
    let attempt = task_record(broker, Event::TaskRevokeAttempt, caller, &record);
    let appended = broker.audit().durable(&attempt).await?;
    let revoked = broker.live().revoke(broker.state(), &record, clock::now());
    let mut outcome = task_record(broker, Event::TaskRevoked, caller, &record);
    outcome.attempt = Some(appended.id);
    let ended = match revoked {
        Ok(ended) => ended,
        Err(error) => {
            let outcome = outcome.with_detail("error", error.to_string());
            broker.audit().note(outcome);
            return Err(error.into());
        }
    };
    let cascade = below(broker, caller, id).await.len();
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

/// The task and all below it, found without holding up a thread that serves others.
pub async fn below(broker: &Arc<Broker>, caller: &Caller, id: TaskId) -> Vec<TaskId> {
    if broker.state().is_leaf(id) {
        return vec![id];
    }
    let turn = broker.sessions().walk(caller.agent()).await;
    let walking = Arc::clone(broker);
    let walk = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        walking.state().subtree(id)
    });
    // It fails where the broker ends, and nobody is answered any more.
    walk.await.unwrap_or_else(|_| vec![id])
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

#[cfg(test)]
mod tests;
