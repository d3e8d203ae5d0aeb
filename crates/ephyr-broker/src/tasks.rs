//! Creates, finds, binds and revokes tasks, with the same rules on every entrypoint.

mod bind;
mod child;
mod error;
mod revoke;
mod root;

use std::sync::Arc;

use ephyr_audit::{ActionInfo, ActionKind, AttemptKind, DecisionInfo, Event, Record};
use ephyr_core::caller::AgentCaller;
use ephyr_core::state::TaskRecord;
use ephyr_names::{TaskId, Timestamp, Ttl};
use ephyr_token::{Receipt, Token, VerifiedToken};

pub use self::bind::{Bound, bind};
pub use self::child::{NewChild, delegate, preview_child};
pub use self::error::TaskError;
pub use self::revoke::{Revoked, below, find_to_revoke, revoke};
pub use self::root::{NewRoot, create_root, preview_root};
use crate::broker::Broker;
use crate::records::finish;

/// The default lifetime of a child.
pub const CHILD_TTL: Ttl = Ttl::from_secs(600);
/// The time within which a child that must be bound has to be bound.
pub const BIND_TIME: Ttl = Ttl::from_secs(30);

/// A newly created task.
pub struct Created {
    /// The task.
    pub record: Arc<TaskRecord>,
    /// Its first token.
    pub token: Token,
    /// Proof that the attempt was recorded.
    pub receipt: Option<Receipt>,
}

/// Records the attempt on disk, creates the task, then records the outcome.
async fn create(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    record: TaskRecord,
    token: Token,
) -> Result<Created, TaskError> {
    let attempt = task_record(broker, Event::TaskCreateAttempt, caller, &record)
        .with_detail("description", &*record.description)
        .with_detail("for", record.agent.as_str())
        .with_detail("expires", record.expires.to_string());
    let attempt = broker.attempt(AttemptKind::TaskCreate, attempt).await?;
    let record = Arc::new(record);
    let made = broker.state().create_task(Arc::clone(&record));
    let appended = finish(attempt, |outcome| match &made {
        Ok(()) => outcome,
        Err(error) => outcome.with_detail("error", error.to_string()),
    });
    made?;
    Ok(Created {
        record,
        token,
        receipt: broker.receipt(appended),
    })
}

/// Rounds down to whole seconds, the resolution of tokens.
fn token_expiry(expires: Timestamp) -> Timestamp {
    Timestamp::from_unix_seconds(expires.unix_seconds())
}

/// Returns the caller's token and its task, which must be `task` if that is given.
fn own_task<'c>(
    broker: &Broker,
    caller: &'c AgentCaller,
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

/// Refuses a token that a holder narrowed: binding would lock out the holders of the fuller token, and revoking
/// would end their work.
fn refuse_narrowed(caller: &AgentCaller) -> Result<(), TaskError> {
    if caller.token().is_some_and(VerifiedToken::is_narrowed) {
        return Err(TaskError::NarrowedToken);
    }
    Ok(())
}

/// Returns a task that is visible to the caller: with a token, its own task and those below; otherwise the tasks of
/// the agent.
///
/// # Errors
/// [`TaskError::NotFound`].
pub fn find(
    broker: &Broker,
    caller: &AgentCaller,
    id: TaskId,
) -> Result<Arc<TaskRecord>, TaskError> {
    let record = broker
        .state()
        .task(id)
        .filter(|record| is_visible(caller, record));
    record.ok_or(TaskError::NotFound(id))
}

/// Returns the newest `most` tasks that are visible to the caller, oldest first, and the count of all of them.
#[must_use]
pub fn visible(
    broker: &Broker,
    caller: &AgentCaller,
    most: usize,
) -> (Vec<Arc<TaskRecord>>, usize) {
    let Some(task) = caller.task() else {
        return broker.state().newest_of(caller.agent(), most);
    };
    let mut subtree = broker.state().subtree(task);
    let count = subtree.len();
    // Ids sort by creation time.
    subtree.sort_unstable();
    let newest = subtree.split_off(count.saturating_sub(most));
    let found = newest.into_iter().filter_map(|id| broker.state().task(id));
    (found.collect(), count)
}

fn is_visible(caller: &AgentCaller, record: &TaskRecord) -> bool {
    match caller.task() {
        Some(task) => record.lineage.contains(&task),
        // Its own tasks, and all below the roots that it created.
        None => record.agent == *caller.agent() || record.initiated_by == *caller.agent(),
    }
}

/// Returns a record about a task, under the lineage of that task.
fn task_record(broker: &Broker, event: Event, caller: &AgentCaller, task: &TaskRecord) -> Record {
    let mut record = broker
        .own_record(event)
        .with_lineage(task.lineage.iter().copied());
    record.agent = Some(caller.agent().clone());
    record.action = Some(ActionInfo::new(ActionKind::Task));
    record
}

/// Records a refusal; returns its error.
fn note_refusal(
    broker: &Broker,
    caller: &AgentCaller,
    tool: &'static str,
    error: TaskError,
) -> TaskError {
    let mut record = broker
        .record(Event::Denied, caller)
        .with_detail("error", error.to_string());
    let mut action = ActionInfo::new(ActionKind::Task);
    action.tool = tool.parse().ok();
    record.action = Some(action);
    record.decision = Some(DecisionInfo {
        step: None,
        reason: error.code().into(),
        rule: None,
    });
    broker.audit().note(record);
    error
}

#[cfg(test)]
mod tests;
