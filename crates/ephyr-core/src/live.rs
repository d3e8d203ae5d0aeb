//! The running actions, registered so that a revocation of their task can end them.
//!
//! The order matters: an action is registered before it checks for a revocation ([`Live::begin`]); a revocation is
//! recorded before it ends running actions ([`Live::revoke`]). Whichever runs second observes the first.

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

/// Why a running action must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its task or one above it was revoked.
    TaskRevoked,
    /// The new policy no longer allows it.
    PolicyChanged,
    /// The caller disconnected or cancelled.
    CallerGone,
    /// The broker is stopping.
    Shutdown,
}

impl Ended {
    /// Returns the reason code for records and answers.
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

/// The registration of one running action; dropping it removes the action.
pub struct Running {
    id: u64,
    running: Arc<Mutex<HashMap<u64, LiveAction>>>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Running {
    /// Returns a receiver of the reason why the action must end.
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
    /// The revocation; the action must not start.
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

    /// Revokes a task and ends all actions of it and of the tasks below. Returns the number of actions ended.
    ///
    /// # Errors
    /// The revocation cannot be journalled; nothing is revoked or ended.
    pub fn revoke(
        &self,
        state: &State,
        task: &TaskRecord,
        now: Timestamp,
    ) -> Result<usize, StateError> {
        state.revoke(task, now)?;
        Ok(self.end_task(task.id))
    }

    /// Registers an action without checking for revocations.
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

    /// Ends all actions of a task and of the tasks below. Returns the number of actions ended.
    pub fn end_task(&self, task: TaskId) -> usize {
        self.end(Ended::TaskRevoked, |subject, _| {
            subject.lineage.iter().any(|(id, _)| *id == task)
        })
    }

    /// Ends all actions that `which` selects. Returns the number of actions ended.
    pub fn end(&self, why: Ended, mut which: impl FnMut(&Subject, &AnyAction) -> bool) -> usize {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = 0;
        for entry in running
            .values()
            .filter(|entry| which(&entry.subject, &entry.action))
        {
            // Keep the first reason.
            let set =
                |current: &mut Option<Ended>| current.is_none() && current.replace(why).is_none();
            ended += usize::from(entry.end.send_if_modified(set));
        }
        ended
    }

    /// Returns the number of running actions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
