//! Binds a task to a key, with proof that the caller holds it.

use std::sync::Arc;

use ephyr_audit::{AttemptKind, Event};
use ephyr_core::caller::AgentCaller;
use ephyr_core::state::{Binding, TaskRecord};
use ephyr_names::{TaskId, Timestamp};
use ephyr_token::{HolderKey, Receipt, Token, rebind};

use super::{TaskError, note_refusal, own_task, refuse_narrowed, task_record};
use crate::auth::prove_new_holder;
use crate::broker::Broker;
use crate::clock;
use crate::records::finish;

/// A newly bound task.
pub struct Bound {
    /// The task.
    pub record: Arc<TaskRecord>,
    /// The bound token, which replaces the unbound one.
    pub token: Token,
    /// The time of the binding.
    pub at: Timestamp,
    /// Proof that the attempt was recorded.
    pub receipt: Option<Receipt>,
}

/// Binds the task of the caller's token to a key that the caller proves to hold. The unbound token then works only to
/// repeat the binding, which returns the same token.
///
/// # Errors
/// [`TaskError`]; the task was not bound.
pub async fn bind(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    task: TaskId,
    holder: HolderKey,
) -> Result<Bound, TaskError> {
    let (token, record) = prepare(broker, caller, task, holder)
        .map_err(|error| note_refusal(broker, caller, "task_bind", error))?;
    let attempt = task_record(broker, Event::TaskBindAttempt, caller, &record)
        .with_detail("holder", holder.to_string());
    let attempt = broker.attempt(AttemptKind::TaskBind, attempt).await?;
    let at = clock::now();
    let bound = broker.state().bind(Binding { task, holder }, at);
    let appended = finish(attempt, |outcome| match &bound {
        Ok(()) => outcome,
        Err(error) => outcome.with_detail("error", error.to_string()),
    });
    bound?;
    let record = broker.state().task(task).unwrap_or(record);
    Ok(Bound {
        record,
        token,
        at,
        receipt: broker.receipt(appended),
    })
}

fn prepare(
    broker: &Broker,
    caller: &AgentCaller,
    task: TaskId,
    holder: HolderKey,
) -> Result<(Token, Arc<TaskRecord>), TaskError> {
    let (token, record) = own_task(broker, caller, Some(task))?;
    refuse_narrowed(caller)?;
    // The last check that can refuse, because it consumes the nonce of the proof.
    prove_new_holder(broker, caller, &holder)
        .map_err(|error| TaskError::Proof(error.to_string()))?;
    let epoch = broker
        .state()
        .epoch(token.epoch())
        .ok_or(TaskError::NoEpoch)?;
    let bound = rebind(&epoch.root_key(token.root()), token, &holder)?;
    Ok((bound, record))
}
