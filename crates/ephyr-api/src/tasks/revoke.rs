//! The tool `task_revoke`.

use std::borrow::Cow;
use std::ops::Not;

use ephyr_names::TaskId;
use serde::{Deserialize, Serialize};

use crate::receipt::ReceiptView;
use crate::tool::{DryRun, ToolArguments};

/// The arguments of `task_revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRevokeArguments {
    /// The task.
    pub task_id: String,
    /// Whether to only list the tasks that would be revoked.
    #[serde(default)]
    pub dry_run: bool,
}

impl ToolArguments for TaskRevokeArguments {
    const TOOL: &'static str = "task_revoke";
    type Result = RevokedTask<'static>;

    fn may_act(&self) -> bool {
        !self.dry_run
    }
}

impl DryRun for TaskRevokeArguments {
    type Preview = RevokedTask<'static>;

    fn dry_run(self) -> Self {
        Self {
            dry_run: true,
            ..self
        }
    }
}

/// A task that was revoked, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedTask<'a> {
    /// The task.
    pub task_id: TaskId,
    /// Whether it was revoked; false in a dry run.
    pub revoked: bool,
    /// The number of tasks revoked with it, itself included.
    pub cascade_count: usize,
    /// The result in words.
    pub status: Cow<'a, str>,
    /// In a dry run: the tasks that would be revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskId>,
    /// Whether `tasks` is truncated.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub truncated: bool,
    /// The number of running actions that were ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_actions: Option<usize>,
    /// The receipt of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptView>,
}
