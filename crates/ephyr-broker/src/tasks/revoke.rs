//! Revoking a task with everything below it.

use std::sync::Arc;

use ephyr_audit::{AttemptKind, Event};
use ephyr_core::caller::AgentCaller;
use ephyr_core::state::TaskRecord;
use ephyr_names::TaskId;
use ephyr_token::Receipt;

use super::{TaskError, find, refuse_narrowed, refused, task_record};
use crate::broker::Broker;
use crate::clock;
use crate::records::finish;

/// A task that was revoked.
pub struct Revoked {
    /// How many tasks fell, itself included.
    pub cascade: usize,
    /// How many running actions were ended.
    pub ended: usize,
    /// Proof that it was recorded.
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

/// Revokes a task and all below it and ends what runs for them. Revoking again answers the same. A
/// certificate that is in the agent's own hands keeps its slot until it ends, since nothing takes it away.
///
/// # Errors
/// [`TaskError`]; nothing was revoked then.
pub async fn revoke(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    id: TaskId,
) -> Result<Revoked, TaskError> {
    let record = find_to_revoke(broker, caller, id)
        .map_err(|error| refused(broker, caller, "task_revoke", error))?;
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

/// The task and all below it, found without holding up a thread that serves others.
pub async fn below(broker: &Arc<Broker>, caller: &AgentCaller, id: TaskId) -> Vec<TaskId> {
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
