//! The segments of a token.

use ephyr_names::{AgentName, TaskId};
use serde::Serialize;

use crate::keys::HolderKey;

/// One task of a token's lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The task's id.
    pub task: TaskId,
    /// The task's agent.
    pub agent: AgentName,
    /// The key that the task is bound to, if any.
    pub holder: Option<HolderKey>,
}
