//! How much room live tasks take, of each agent and of all together.
//!
//! A task counts for the agent that made the root above it: who lets another work below its own task gives
//! away some of its own room, and nobody can use up another's.

use std::collections::HashMap;

use ephyr_names::AgentName;

use super::{StateError, TaskRecord};

/// Live tasks of one agent at once.
pub const MAX_TASKS_PER_AGENT: usize = 150_000;
/// Live tasks of everyone at once.
pub const MAX_TASKS: usize = 250_000;
/// Bytes of one agent's live tasks at once: as many tasks as it may have, where their descriptions and
/// envelopes are of ordinary length.
pub(super) const MAX_BYTES_PER_AGENT: usize = 150_000_000;
/// Bytes of everyone's live tasks at once, in memory and again in the journal, which lies in memory too.
pub(super) const MAX_BYTES: usize = 250_000_000;
/// So much is always an agent's own, however much the others have.
const OWN_BYTES: usize = 1_000_000;
/// What a task takes without its texts.
const TASK: usize = 500;
/// What each task above it adds.
const ABOVE: usize = 50;

/// What some tasks take.
#[derive(Default, Clone, Copy)]
struct Taken {
    tasks: usize,
    bytes: usize,
}

/// What the live tasks take.
#[derive(Default)]
pub(super) struct Room {
    agents: HashMap<AgentName, Taken>,
    all: Taken,
}

impl Room {
    /// Whether there is room for one more.
    ///
    /// # Errors
    /// [`StateError::TooManyTasks`] or [`StateError::TooLongTasks`].
    pub(super) fn check(&self, initiator: &AgentName, bytes: usize) -> Result<(), StateError> {
        let own = self.agents.get(initiator).copied().unwrap_or_default();
        if own.tasks >= MAX_TASKS_PER_AGENT {
            return Err(StateError::TooManyTasks(MAX_TASKS_PER_AGENT));
        }
        if own.bytes + bytes > MAX_BYTES_PER_AGENT {
            return Err(StateError::TooLongTasks(MAX_BYTES_PER_AGENT / 1_000_000));
        }
        if own.bytes + bytes <= OWN_BYTES {
            return Ok(());
        }
        if self.all.tasks >= MAX_TASKS {
            return Err(StateError::TooManyTasks(MAX_TASKS));
        }
        if self.all.bytes + bytes > MAX_BYTES {
            return Err(StateError::TooLongTasks(MAX_BYTES / 1_000_000));
        }
        Ok(())
    }

    /// Counts a task.
    pub(super) fn take(&mut self, record: &TaskRecord) {
        let agent = self.agents.entry(record.initiated_by.clone()).or_default();
        for taken in [agent, &mut self.all] {
            taken.tasks += 1;
            taken.bytes += bytes(record);
        }
    }

    /// Counts one less.
    pub(super) fn give_back(&mut self, record: &TaskRecord) {
        let less = |taken: &mut Taken| {
            taken.tasks = taken.tasks.saturating_sub(1);
            taken.bytes = taken.bytes.saturating_sub(bytes(record));
        };
        less(&mut self.all);
        if let Some(agent) = self.agents.get_mut(&record.initiated_by) {
            less(agent);
            if agent.tasks == 0 {
                self.agents.remove(&record.initiated_by);
            }
        }
    }

    /// About as long as a journal with nothing but these tasks.
    pub(super) fn bytes(&self) -> usize {
        self.all.bytes
    }

    /// How many tasks are counted.
    #[cfg(test)]
    pub(super) fn tasks(&self) -> usize {
        self.all.tasks
    }

    /// As if the agent had so many more tasks.
    #[cfg(test)]
    pub(super) fn pretend(&mut self, agent: &AgentName, tasks: usize, bytes: usize) {
        let agent = self.agents.entry(agent.clone()).or_default();
        for taken in [agent, &mut self.all] {
            taken.tasks += tasks;
            taken.bytes += bytes;
        }
    }
}

/// What a task takes, in memory and about as much in the journal. It does not change while the task lives.
pub(super) fn bytes(record: &TaskRecord) -> usize {
    bytes_with(
        record.lineage.len(),
        record.description.len() + record.envelope.len(),
    )
}

/// The same of a task with so many in its lineage and texts of so many bytes.
pub(super) fn bytes_with(lineage: usize, texts: usize) -> usize {
    TASK + ABOVE * lineage + texts
}
