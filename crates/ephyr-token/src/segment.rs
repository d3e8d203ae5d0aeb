//! One task of a token's lineage.

use ephyr_names::{AgentName, TaskId};
use serde::Serialize;

use crate::keys::HolderKey;

/// One task of a token's lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The task's id.
    pub task: TaskId,
    /// The agent that it belongs to.
    pub agent: AgentName,
    /// The key that it is bound to.
    pub holder: Option<HolderKey>,
}
