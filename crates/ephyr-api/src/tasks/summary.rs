//! A task in lists.

use std::borrow::Cow;

use ephyr_names::{AgentName, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// A live task, as `task_list` returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSummary<'a> {
    /// The task.
    pub id: TaskId,
    /// Its purpose.
    pub description: Cow<'a, str>,
    /// The agent that holds it.
    pub agent: Cow<'a, AgentName>,
    /// Its creation time.
    pub created_at: Timestamp,
    /// Its expiry.
    pub expires_at: Timestamp,
    /// The seconds until it expires.
    pub remaining_ttl: u64,
    /// Whether it, or a task above it, was revoked.
    pub is_revoked: bool,
    /// Whether it is bound to a key.
    pub holder_bound: bool,
    /// The number of tasks above it.
    pub depth: usize,
    /// The root of its tree.
    pub root: TaskId,
    /// The task directly above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<TaskId>,
}
