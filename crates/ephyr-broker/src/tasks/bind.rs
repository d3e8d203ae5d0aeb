//! Binding a task to a key that its holder proves to have.

use std::sync::Arc;

use ephyr_audit::{AttemptKind, Event};
use ephyr_core::caller::AgentCaller;
use ephyr_core::state::{Binding, TaskRecord};
use ephyr_names::{TaskId, Timestamp};
use ephyr_token::{HolderKey, Receipt, Token, rebind};

use super::{TaskError, own_task, refuse_narrowed, refused, task_record};
use crate::auth::prove_new_holder;
use crate::broker::Broker;
use crate::clock;
use crate::records::finish;

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

/// Binds the task of the caller's token to a key that the caller proves to have. The unbound token is
/// dead from here on; binding again with the same key gives the same answer.
///
/// # Errors
/// [`TaskError`]; nothing was bound then.
pub async fn bind(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    task: TaskId,
    holder: HolderKey,
) -> Result<Bound, TaskError> {
    let (token, record) = prepare(broker, caller, task, holder)
        .map_err(|error| refused(broker, caller, "task_bind", error))?;
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
    // Last of the checks that refuse: it uses up the proof's nonce.
    prove_new_holder(broker, caller, &holder)
        .map_err(|error| TaskError::Proof(error.to_string()))?;
    let epoch = broker
        .state()
        .epoch(token.epoch())
        .ok_or(TaskError::NoEpoch)?;
    let bound = rebind(&epoch.root_key(token.root()), token, &holder)?;
    Ok((bound, record))
}
