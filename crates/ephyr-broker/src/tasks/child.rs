//! Creates child tasks from the token of their parent, for the same agent or one that accepts its delegations.

use std::sync::Arc;

use ephyr_core::caller::AgentCaller;
use ephyr_core::ids;
use ephyr_core::state::TaskRecord;
use ephyr_names::{AgentName, TaskId, Timestamp, Ttl};
use ephyr_token::{ChildSpec, HolderKey, MintError, Narrowing, Token, mint_child};

use super::{
    BIND_TIME, CHILD_TTL, Created, TaskError, create, note_refusal, own_task, token_expiry,
};
use crate::broker::Broker;
use crate::clock;

/// A request for a child task.
pub struct NewChild {
    /// The parent; by default the task of the caller's token, and it can be no other.
    pub parent: Option<TaskId>,
    /// The agent that gets the task; by default the caller's own.
    pub agent: Option<AgentName>,
    /// The purpose, for people.
    pub description: String,
    /// The lifetime; by default [`CHILD_TTL`] or the remaining lifetime of the parent's token, if shorter.
    pub ttl: Option<Ttl>,
    /// Whether it may have children.
    pub can_delegate: bool,
    /// The key to bind it to.
    pub holder: Option<HolderKey>,
    /// Whether it must be bound within [`BIND_TIME`]; no effect if `holder` is given.
    pub must_bind: bool,
    /// The restrictions applied to the parent's envelope.
    pub narrowing: Narrowing,
}

/// Creates a task below that of the caller's token, for the same agent or for one that accepts its delegations.
///
/// # Errors
/// [`TaskError`]; no task was created.
pub async fn delegate(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    wanted: NewChild,
) -> Result<Created, TaskError> {
    let now = clock::now();
    let (token, record) = match prepare_child(broker, caller, wanted, now) {
        Ok(prepared) => prepared,
        Err(error) => {
            let error = note_refusal(broker, caller, "task_delegate", error);
            return Err(error.redacted_for(caller.agent()));
        }
    };
    create(broker, caller, record, token).await
}

/// Returns the task that [`delegate`] would create, without creating it.
///
/// # Errors
/// [`TaskError`] as [`delegate`] would return it.
pub fn preview_child(
    broker: &Broker,
    caller: &AgentCaller,
    wanted: NewChild,
) -> Result<TaskRecord, TaskError> {
    let (_, record) = prepare_child(broker, caller, wanted, clock::now())
        .map_err(|error| error.redacted_for(caller.agent()))?;
    let texts = record.description.len() + record.envelope.len();
    broker
        .state()
        .check_room(&record.initiated_by, &record.lineage, texts)?;
    Ok(record)
}

fn prepare_child(
    broker: &Broker,
    caller: &AgentCaller,
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
    // Minting needs a delegation certificate in force, even if the tree belongs to an older epoch.
    broker
        .state()
        .minting_epoch(now)
        .ok_or(TaskError::NoEpoch)?;
    let epoch = broker
        .state()
        .epoch(parent_token.epoch())
        .ok_or(TaskError::NoEpoch)?;
    let id = ids::task_id(now);
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
