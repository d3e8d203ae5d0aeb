//! The tool `task_info`.

use std::borrow::Cow;

use ephyr_names::TaskId;
use serde::{Deserialize, Serialize};

use super::summary::TaskSummary;
use crate::envelope::EnvelopeJson;
use crate::tool::ToolArguments;

/// The arguments of `task_info`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfoArguments {
    /// The task; by default that of the caller's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
}

impl ToolArguments for TaskInfoArguments {
    const TOOL: &'static str = "task_info";
    type Result = TaskInfo<'static>;

    fn may_act(&self) -> bool {
        false
    }
}

/// The result of `task_info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo<'a> {
    /// The task.
    pub task: TaskDetails<'a>,
}

/// A live task with its lineage and envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDetails<'a> {
    /// The members that `task_list` returns too.
    #[serde(flatten)]
    pub summary: TaskSummary<'a>,
    /// The tasks from the root down to this one.
    pub lineage: Cow<'a, [TaskId]>,
    /// Whether it may have children.
    pub can_delegate: bool,
    /// The upper bound of what its token allows.
    pub envelope: EnvelopeJson<'a>,
}
