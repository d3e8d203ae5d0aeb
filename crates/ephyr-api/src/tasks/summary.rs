//! A task in lists.

use std::borrow::Cow;

use ephyr_names::{AgentName, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// A live task, as `task_list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSummary<'a> {
    /// The task.
    pub id: TaskId,
    /// What it is for.
    pub description: Cow<'a, str>,
    /// The agent whose task it is.
    pub agent: Cow<'a, AgentName>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The seconds until then.
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
