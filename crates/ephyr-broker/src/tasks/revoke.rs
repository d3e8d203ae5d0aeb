//! Revokes a task and all tasks below it.

use std::sync::Arc;

use ephyr_audit::{AttemptKind, Event};
use ephyr_core::caller::AgentCaller;
use ephyr_core::state::TaskRecord;
use ephyr_names::TaskId;
use ephyr_token::Receipt;

use super::{TaskError, find, note_refusal, refuse_narrowed, task_record};
use crate::broker::Broker;
use crate::clock;
use crate::records::finish;

/// The result of a revocation.
pub struct Revoked {
    /// The number of revoked tasks, the task itself included.
    pub cascade: usize,
    /// The number of running actions that were ended.
    pub ended: usize,
    /// Proof that the attempt was recorded.
    pub receipt: Option<Receipt>,
}

/// Returns the task of this id, if the caller may revoke it.
///
/// # Errors
/// [`TaskError::NotFound`] as [`find`], and [`TaskError::NarrowedToken`].
pub fn find_to_revoke(
    broker: &Broker,
    caller: &AgentCaller,
    id: TaskId,
) -> Result<Arc<TaskRecord>, TaskError> {
    let record = find(broker, caller, id)?;
    refuse_narrowed(caller)?;
    Ok(record)
}

/// Revokes a task and all tasks below it, and ends their running actions. Revoking again succeeds as well. A
/// certificate that the agent itself holds keeps its slot until it expires, because it cannot be revoked.
///
/// # Errors
/// [`TaskError`]; nothing was revoked.
pub async fn revoke(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    id: TaskId,
) -> Result<Revoked, TaskError> {
    let record = find_to_revoke(broker, caller, id)
        .map_err(|error| note_refusal(broker, caller, "task_revoke", error))?;
    let attempt = task_record(broker, Event::TaskRevokeAttempt, caller, &record);
    let attempt = broker.attempt(AttemptKind::TaskRevoke, attempt).await?;
    let revoked = broker.live().revoke(broker.state(), &record, clock::now());
    let ended = match revoked {
        Ok(ended) => ended,
        Err(error) => {
            finish(attempt, |outcome| {
                outcome.with_detail("error", error.to_string())
            });
            return Err(error.into());
        }
    };
    let cascade = below(broker, caller, id).await.len();
    let appended = finish(attempt, |outcome| {
        outcome
            .with_detail("tasks", cascade.to_string())
            .with_detail("ended", ended.to_string())
    });
    Ok(Revoked {
        cascade,
        ended,
        receipt: broker.receipt(appended),
    })
}

/// Returns the task and all tasks below it. A large tree is walked on the blocking pool, one walk at a time per agent.
pub async fn below(broker: &Arc<Broker>, caller: &AgentCaller, id: TaskId) -> Vec<TaskId> {
    if broker.state().is_leaf(id) {
        return vec![id];
    }
    let turn = broker.limits().walk(caller.agent()).await;
    let walking = Arc::clone(broker);
    let walk = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        walking.state().subtree(id)
    });
    // The walk fails only during shutdown, when no response is sent.
    walk.await.unwrap_or_else(|_| vec![id])
}
