//! Creates root tasks: by an agent in its own name, never with a task token.

use std::sync::Arc;

use ephyr_core::caller::{AgentCaller, Via};
use ephyr_core::epoch::Epoch;
use ephyr_core::ids;
use ephyr_core::state::TaskRecord;
use ephyr_names::{Timestamp, Ttl};
use ephyr_token::{Envelope, HolderKey, MAX_DEPTH, MAX_ROOT_TTL, Narrowing, RootSpec, mint_root};

use super::{Created, TaskError, create, note_refusal, token_expiry};
use crate::broker::Broker;
use crate::clock;

/// A request for a root task.
pub struct NewRoot {
    /// The purpose, for people.
    pub description: String,
    /// The lifetime.
    pub ttl: Ttl,
    /// Whether it may have children.
    pub can_delegate: bool,
    /// The key to bind it to.
    pub holder: Option<HolderKey>,
    /// The restrictions of its envelope.
    pub narrowing: Narrowing,
}

/// Checks whether [`create_root`] would succeed, without creating a task.
///
/// # Errors
/// [`TaskError`] as [`create_root`] would return it.
pub fn preview_root(
    broker: &Broker,
    caller: &AgentCaller,
    wanted: &NewRoot,
) -> Result<(), TaskError> {
    check_root(broker, caller, wanted, clock::now())?;
    // The length of the envelope is not known before it is built.
    let texts = wanted.description.len();
    broker.state().check_room(caller.agent(), &[], texts)?;
    Ok(())
}

/// Checks that the caller may create the root task; returns the epoch to mint in.
fn check_root(
    broker: &Broker,
    caller: &AgentCaller,
    wanted: &NewRoot,
    now: Timestamp,
) -> Result<Arc<Epoch>, TaskError> {
    // A token that could create a root would outlive its own task and escape its lineage.
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

/// Creates a root task.
///
/// # Errors
/// [`TaskError`]; no task was created.
pub async fn create_root(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    wanted: NewRoot,
) -> Result<Created, TaskError> {
    let now = clock::now();
    let epoch = match check_root(broker, caller, &wanted, now) {
        Ok(epoch) => epoch,
        Err(error) => return Err(note_refusal(broker, caller, "task_create", error)),
    };
    let id = ids::task_id(now);
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

fn initiator(caller: &AgentCaller) -> String {
    match caller.via() {
        Via::Uid(uid) => format!("uid:{uid}"),
        Via::Key | Via::Token => format!("{}:{}", caller.via().as_str(), caller.agent()),
    }
}

/// Returns an envelope of all that the policy grants the agent, now or later, with the requested restrictions.
fn root_envelope(expires: Timestamp, can_delegate: bool, narrowing: Narrowing) -> Envelope {
    let depth = if can_delegate { MAX_DEPTH } else { 0 };
    narrowing.of(Envelope::any(token_expiry(expires), can_delegate, depth))
}
