//! The entries of the state journal. Changing an entry requires a new version of the journal, since an unknown entry
//! counts as damage.

use ephyr_names::{AgentName, EpochId, TaskId, Timestamp};
use ephyr_token::HolderKey;
use serde::{Deserialize, Serialize};

use crate::epoch::EpochEntry;
use crate::gate::Issued;

/// One change of the broker's state.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StateEntry {
    /// An epoch was added.
    Epoch(EpochEntry),
    /// A task was created.
    Task(TaskRecord),
    /// A task was bound to a key.
    Bound(Binding),
    /// A task and all below it were revoked.
    Revoked(Revocation),
    /// A certificate was issued to an agent.
    Certificate(Issued),
    /// Tasks were found to have ended. They stay ended, whatever the clock says after a restart.
    Ended(Vec<TaskId>),
}

/// A live task.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TaskRecord {
    /// The task.
    pub id: TaskId,
    /// The tasks from the root to this one.
    pub lineage: Box<[TaskId]>,
    /// The epoch whose secret derives its tree's root key.
    pub epoch: EpochId,
    /// The agent that holds it.
    pub agent: AgentName,
    /// The agent that created the root.
    pub initiated_by: AgentName,
    /// Its purpose, in the agent's words.
    pub description: Box<str>,
    /// Its creation time.
    pub created: Timestamp,
    /// The expiry of the task and its tokens.
    pub expires: Timestamp,
    /// Whether it may have children.
    pub can_delegate: bool,
    /// The key that its tokens are bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderKey>,
    /// The time before which it must be bound, if it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_deadline: Option<Timestamp>,
    /// The envelope of its first token, as JSON.
    pub envelope: Box<str>,
}

impl TaskRecord {
    /// Returns the root of its tree.
    #[must_use]
    pub fn root(&self) -> TaskId {
        self.lineage.first().copied().unwrap_or(self.id)
    }

    /// Returns the task above it.
    #[must_use]
    pub fn parent(&self) -> Option<TaskId> {
        self.lineage.len().checked_sub(2).map(|at| self.lineage[at])
    }

    /// Returns its distance from the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lineage.len().saturating_sub(1)
    }
}

/// The binding of a task to a key: its tokens require proofs by this key.
#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The task.
    pub task: TaskId,
    /// The key.
    pub holder: HolderKey,
}

/// A revocation: from `at` on, no token with `task` in its lineage is valid.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The revoked task.
    pub task: TaskId,
    /// The time of the revocation.
    pub at: Timestamp,
    /// The time until which it must be kept: the root's expiry.
    pub until: Timestamp,
}
