//! Making, finding and revoking tasks: the rules of the tree, whichever way the request came in.

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

/// A child's life where none is asked for.
pub const CHILD_TTL: Ttl = Ttl::from_secs(600);
/// How long a child that must be bound may stay unbound.
pub const BIND_TIME: Ttl = Ttl::from_secs(30);

/// A task that was made.
pub struct Created {
    /// The task.
    pub record: Arc<TaskRecord>,
    /// Its first token.
    pub token: Token,
    /// Proof that it was recorded.
    pub receipt: Option<Receipt>,
}

/// Creates a task: the attempt on disk, then the task, then the outcome.
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

/// Tokens carry whole seconds.
fn token_expiry(expires: Timestamp) -> Timestamp {
    Timestamp::from_unix_seconds(expires.unix_seconds())
}

/// The caller's token and its task, which must be `task` where that is said.
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

/// Refuses a token that a holder narrowed. The holder of the full token keeps the task: binding would lock out
/// holders of a fuller token, and revoking would end their work.
fn refuse_narrowed(caller: &AgentCaller) -> Result<(), TaskError> {
    if caller.token().is_some_and(VerifiedToken::is_narrowed) {
        return Err(TaskError::NarrowedToken);
    }
    Ok(())
}

/// The task of this id, if it is the caller's to see: with a token its own task and those below, else
/// those of the agent.
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

/// The newest tasks that are the caller's to see, at most `most`, the oldest of them first; and how many
/// there are.
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
    // Ids are in order of time.
    subtree.sort_unstable();
    let newest = subtree.split_off(count.saturating_sub(most));
    let found = newest.into_iter().filter_map(|id| broker.state().task(id));
    (found.collect(), count)
}

fn is_visible(caller: &AgentCaller, record: &TaskRecord) -> bool {
    match caller.task() {
        Some(task) => record.lineage.contains(&task),
        // Its own tasks, and those that grew below them.
        None => record.agent == *caller.agent() || record.initiated_by == *caller.agent(),
    }
}

/// A record about a task, under that task's own lineage.
fn task_record(broker: &Broker, event: Event, caller: &AgentCaller, task: &TaskRecord) -> Record {
    let mut record = broker
        .own_record(event)
        .with_lineage(task.lineage.iter().copied());
    record.agent = Some(caller.agent().clone());
    record.action = Some(ActionInfo::new(ActionKind::Task));
    record
}

fn refused(
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
