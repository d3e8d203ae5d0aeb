//! What stands in the state journal. Changing a form here means a new version of the journal; a program that
//! does not know a kind of entry takes it for damage.

use ephyr_names::{AgentName, EpochId, TaskId, Timestamp};
use ephyr_token::HolderKey;
use serde::{Deserialize, Serialize};

use crate::epoch::EpochEntry;
use crate::gate::Issued;

/// One step of the broker's state.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StateEntry {
    /// An epoch began.
    Epoch(EpochEntry),
    /// A task was created.
    Task(TaskRecord),
    /// A task was bound to a key.
    Bound(Binding),
    /// A task and all below it were revoked.
    Revoked(Revocation),
    /// A certificate went into an agent's hands.
    Certificate(Issued),
    /// Tasks were found to be over. They stay so, whatever the clock says after a restart.
    Ended(Vec<TaskId>),
}

/// A live task.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TaskRecord {
    /// The task.
    pub id: TaskId,
    /// From the root down to the task itself.
    pub lineage: Box<[TaskId]>,
    /// The epoch whose secret its tree's tokens are made of.
    pub epoch: EpochId,
    /// Whose task it is.
    pub agent: AgentName,
    /// The agent that made the root.
    pub initiated_by: AgentName,
    /// What it is for, in the agent's words.
    pub description: Box<str>,
    /// When it was created.
    pub created: Timestamp,
    /// When it and its tokens end.
    pub expires: Timestamp,
    /// Whether it may have children.
    pub can_delegate: bool,
    /// The key that its tokens are bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderKey>,
    /// Until when it must be bound, where it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_deadline: Option<Timestamp>,
    /// The envelope of its first token, as JSON.
    pub envelope: Box<str>,
}

impl TaskRecord {
    /// The root of its tree.
    #[must_use]
    pub fn root(&self) -> TaskId {
        self.lineage.first().copied().unwrap_or(self.id)
    }

    /// The task above it.
    #[must_use]
    pub fn parent(&self) -> Option<TaskId> {
        self.lineage.len().checked_sub(2).map(|at| self.lineage[at])
    }

    /// How far below the root it is.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lineage.len().saturating_sub(1)
    }
}

/// A task's tokens are from here on good only with proofs by this key.
#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The task.
    pub task: TaskId,
    /// The key.
    pub holder: HolderKey,
}

/// A watermark: from `at` on no token with `task` in its lineage is worth anything.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The task revoked.
    pub task: TaskId,
    /// When.
    pub at: Timestamp,
    /// Until when it must be remembered: the root's end.
    pub until: Timestamp,
}
