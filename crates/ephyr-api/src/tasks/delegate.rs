//! The tool `task_delegate`.

use std::ops::Not;

use ephyr_token::NarrowingArguments;
use serde::{Deserialize, Serialize};

use super::create::{CreatedTask, TaskPreview};
use crate::tool::{DryRun, ToolArguments};

/// The arguments of `task_delegate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDelegateArguments {
    /// The parent; by default the task of the caller's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_task_id: Option<String>,
    /// The agent that will hold the task; by default the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The purpose of the task.
    pub description: String,
    /// The lifetime; by default 10 minutes, or the rest of the parent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Whether the task may have children.
    #[serde(default)]
    pub can_delegate: bool,
    /// The Ed25519 public key to bind the task to, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder_pub_key: Option<String>,
    /// Whether a task without a key must be bound before it can be used.
    #[serde(default)]
    pub must_bind: bool,
    /// The restrictions of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<NarrowingArguments>,
    /// Whether only the decision is requested.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub dry_run: bool,
}

impl ToolArguments for TaskDelegateArguments {
    const TOOL: &'static str = "task_delegate";
    type Result = CreatedTask<'static>;

    fn may_act(&self) -> bool {
        !self.dry_run
    }
}

impl DryRun for TaskDelegateArguments {
    type Preview = TaskPreview<'static>;

    fn dry_run(self) -> Self {
        Self {
            dry_run: true,
            ..self
        }
    }
}
