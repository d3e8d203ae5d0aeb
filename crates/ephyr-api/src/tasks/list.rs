//! The tool `task_list`.

use serde::{Deserialize, Serialize};

use super::summary::TaskSummary;
use crate::tool::ToolArguments;

/// The arguments of `task_list`: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskListArguments {}

impl ToolArguments for TaskListArguments {
    const TOOL: &'static str = "task_list";
    type Result = TaskList<'static>;

    fn may_act(&self) -> bool {
        false
    }
}

/// The caller's live tasks; with a token, its task and the tasks below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskList<'a> {
    /// The tasks, oldest first.
    pub tasks: Vec<TaskSummary<'a>>,
    /// The number of tasks, listed or not.
    pub count: usize,
    /// Whether only the newest are listed.
    pub truncated: bool,
}
