//! Child tasks: made of their parent's token, for the same agent or one that accepts its delegations.

use std::sync::Arc;

use ephyr_core::caller::AgentCaller;
use ephyr_core::ids;
use ephyr_core::state::TaskRecord;
use ephyr_names::{AgentName, TaskId, Timestamp, Ttl};
use ephyr_token::{ChildSpec, HolderKey, MintError, Narrowing, Token, mint_child};

use super::{BIND_TIME, CHILD_TTL, Created, TaskError, create, own_task, refused, token_expiry};
use crate::broker::Broker;
use crate::clock;

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

/// Makes a task below the one of the caller's token, for the same agent or for one that takes its
/// delegations.
///
/// # Errors
/// [`TaskError`]; nothing was made then.
pub async fn delegate(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
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
    caller: &AgentCaller,
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
    // Minting needs a delegation that is in force, also where the tree is of an older epoch.
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
