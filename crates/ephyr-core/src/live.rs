//! What runs at this moment for a task, so that revoking the task can end it.
//!
//! Order matters: an action registers itself first and asks whether its task is revoked afterwards
//! ([`Live::begin`]); a revocation is recorded first and looks for running actions afterwards
//! ([`Live::revoke`]). Whichever comes second sees the other.

use std::collections::HashMap;
use std::sync::Arc;

use ephyr_names::{TaskId, Timestamp};
use ephyr_policy::{AnyAction, Subject};
use tokio::sync::watch;

use crate::state::{Revocation, State, StateError, TaskRecord};
use crate::sync::{AtomicU64, Mutex, Ordering, PoisonError};

/// The running actions.
#[derive(Default)]
pub struct Live {
    next: AtomicU64,
    running: Arc<Mutex<HashMap<u64, LiveAction>>>,
}

struct LiveAction {
    subject: Subject,
    action: AnyAction,
    end: watch::Sender<Option<Ended>>,
}

/// Why an action was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its task, or one above it, was revoked.
    TaskRevoked,
    /// The new policy no longer allows it.
    PolicyChanged,
    /// Whoever asked for it went away or cancelled.
    CallerGone,
    /// The broker is stopping.
    Shutdown,
}

impl Ended {
    /// The reason as it stands in records and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TaskRevoked => "task_revoked",
            Self::PolicyChanged => "policy_changed",
            Self::CallerGone => "caller_gone",
            Self::Shutdown => "shutdown",
        }
    }
}

/// One running action's place in the registry; dropping it leaves.
pub struct Running {
    id: u64,
    running: Arc<Mutex<HashMap<u64, LiveAction>>>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Running {
    /// Tells when the action is to end, and why.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<Option<Ended>> {
        self.ended.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

impl Live {
    /// Registers an action, unless its task has been revoked.
    ///
    /// # Errors
    /// The revocation; the action must not begin then.
    pub fn begin(
        &self,
        state: &State,
        subject: Subject,
        action: impl Into<AnyAction>,
    ) -> Result<Running, Revocation> {
        let lineage: Vec<TaskId> = subject.lineage.iter().map(|(task, _)| *task).collect();
        let running = self.enter(subject, action);
        match state.revoked(&lineage) {
            None => Ok(running),
            Some(revoked) => Err(revoked),
        }
    }

    /// Revokes a task and ends whatever runs for it or below; tells how much that was.
    ///
    /// # Errors
    /// When the revocation could not be journalled; nothing is revoked or ended then.
    pub fn revoke(
        &self,
        state: &State,
        task: &TaskRecord,
        now: Timestamp,
    ) -> Result<usize, StateError> {
        state.revoke(task, now)?;
        Ok(self.end_task(task.id))
    }

    /// Registers an action.
    #[must_use]
    pub fn enter(&self, subject: Subject, action: impl Into<AnyAction>) -> Running {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = watch::channel(None);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(
            id,
            LiveAction {
                subject,
                action: action.into(),
                end,
            },
        );
        Running {
            id,
            running: Arc::clone(&self.running),
            ended,
        }
    }

    /// Ends whatever runs for one of these tasks or below; tells how much that was.
    pub fn end_task(&self, task: TaskId) -> usize {
        self.end(Ended::TaskRevoked, |subject, _| {
            subject.lineage.iter().any(|(id, _)| *id == task)
        })
    }

    /// Ends whatever `which` picks; tells how much that was.
    pub fn end(&self, why: Ended, mut which: impl FnMut(&Subject, &AnyAction) -> bool) -> usize {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = 0;
        for entry in running
            .values()
            .filter(|entry| which(&entry.subject, &entry.action))
        {
            // The first reason stays.
            let set =
                |current: &mut Option<Ended>| current.is_none() && current.replace(why).is_none();
            ended += usize::from(entry.end.send_if_modified(set));
        }
        ended
    }

    /// Number of running actions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
