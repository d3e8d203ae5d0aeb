//! Quotas for live tasks, of each agent and of all together.
//!
//! A task counts for the agent that made the root above it: an agent that delegates gives away part of its own quota,
//! and no agent can use up another's.

use std::collections::HashMap;

use ephyr_names::AgentName;

use super::{StateError, TaskRecord};

/// Maximum number of live tasks of one agent.
pub const MAX_TASKS_PER_AGENT: usize = 150_000;
/// Maximum number of live tasks of all agents.
pub const MAX_TASKS: usize = 250_000;
/// Maximum size of one agent's live tasks, in bytes: as many tasks as it may have, with descriptions and
/// envelopes of ordinary length.
pub(super) const MAX_BYTES_PER_AGENT: usize = 150_000_000;
/// Maximum size of all live tasks, in bytes, in memory and again in the journal, which lies in memory too.
pub(super) const MAX_BYTES: usize = 250_000_000;

/// Limits on live tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Maximum number of tasks of one agent.
    pub tasks_per_agent: usize,
    /// Maximum number of tasks of all agents.
    pub tasks: usize,
    /// Maximum size of one agent's tasks, in bytes.
    pub bytes_per_agent: usize,
    /// Maximum size of all tasks, in bytes.
    pub bytes: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            tasks_per_agent: MAX_TASKS_PER_AGENT,
            tasks: MAX_TASKS,
            bytes_per_agent: MAX_BYTES_PER_AGENT,
            bytes: MAX_BYTES,
        }
    }
}

/// Size that is always an agent's own, however much the others have, in bytes.
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

/// Usage of the quotas by the live tasks.
pub(super) struct Room {
    quotas: Quotas,
    agents: HashMap<AgentName, Taken>,
    all: Taken,
}

impl Room {
    pub(super) fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            agents: HashMap::new(),
            all: Taken::default(),
        }
    }

    /// Whether there is room for one more.
    ///
    /// # Errors
    /// [`StateError::TooManyTasks`] or [`StateError::TooLongTasks`].
    pub(super) fn check(&self, initiator: &AgentName, bytes: usize) -> Result<(), StateError> {
        let quotas = self.quotas;
        let own = self.agents.get(initiator).copied().unwrap_or_default();
        if own.tasks >= quotas.tasks_per_agent {
            return Err(StateError::TooManyTasks(quotas.tasks_per_agent));
        }
        if own.bytes + bytes > quotas.bytes_per_agent {
            return Err(StateError::TooLongTasks(quotas.bytes_per_agent / 1_000_000));
        }
        if own.bytes + bytes <= OWN_BYTES {
            return Ok(());
        }
        if self.all.tasks >= quotas.tasks {
            return Err(StateError::TooManyTasks(quotas.tasks));
        }
        if self.all.bytes + bytes > quotas.bytes {
            return Err(StateError::TooLongTasks(quotas.bytes / 1_000_000));
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
