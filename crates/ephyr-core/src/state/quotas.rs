//! Quotas for live tasks, of each agent and of all together.
//!
//! A task counts for the agent that created its root: delegated tasks use the quota of the root's creator, and no
//! agent can use up another's.

use std::collections::HashMap;

use ephyr_names::AgentName;

use super::{StateError, TaskRecord};

/// Maximum number of live tasks of one agent.
pub const MAX_TASKS_PER_AGENT: usize = 150_000;
/// Maximum number of live tasks of all agents.
pub const MAX_TASKS: usize = 250_000;
/// Maximum size of one agent's live tasks, in bytes: enough for `MAX_TASKS_PER_AGENT` tasks with descriptions and
/// envelopes of ordinary length.
pub(super) const MAX_BYTES_PER_AGENT: usize = 150_000_000;
/// Maximum size of all live tasks, in bytes. They use it twice: in memory, and in the journal on tmpfs.
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

/// Size reserved for each agent, however much the others use, in bytes.
const RESERVED_BYTES: usize = 1_000_000;
/// Size of a task without its texts, in bytes.
const TASK_BYTES: usize = 500;
/// Size of each element of a lineage, in bytes.
const LINEAGE_BYTES: usize = 50;

/// The number and size of tasks.
#[derive(Default, Clone, Copy)]
struct Usage {
    tasks: usize,
    bytes: usize,
}

/// The live tasks' usage of the quotas.
pub(super) struct QuotaUsage {
    quotas: Quotas,
    agents: HashMap<AgentName, Usage>,
    all: Usage,
}

impl QuotaUsage {
    pub(super) fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            agents: HashMap::new(),
            all: Usage::default(),
        }
    }

    /// Checks the quotas for one more task of this size.
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
        if own.bytes + bytes <= RESERVED_BYTES {
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

    /// Adds a task.
    pub(super) fn add(&mut self, record: &TaskRecord) {
        let agent = self.agents.entry(record.initiated_by.clone()).or_default();
        for usage in [agent, &mut self.all] {
            usage.tasks += 1;
            usage.bytes += bytes(record);
        }
    }

    /// Removes a task.
    pub(super) fn remove(&mut self, record: &TaskRecord) {
        let subtract = |usage: &mut Usage| {
            usage.tasks = usage.tasks.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(bytes(record));
        };
        subtract(&mut self.all);
        if let Some(agent) = self.agents.get_mut(&record.initiated_by) {
            subtract(agent);
            if agent.tasks == 0 {
                self.agents.remove(&record.initiated_by);
            }
        }
    }

    /// Returns the size of all tasks, about that of a journal with nothing else.
    pub(super) fn bytes(&self) -> usize {
        self.all.bytes
    }

    /// Returns the number of tasks.
    #[cfg(test)]
    pub(super) fn tasks(&self) -> usize {
        self.all.tasks
    }

    /// Adds usage without tasks.
    #[cfg(test)]
    pub(super) fn add_fake(&mut self, agent: &AgentName, tasks: usize, bytes: usize) {
        let agent = self.agents.entry(agent.clone()).or_default();
        for usage in [agent, &mut self.all] {
            usage.tasks += tasks;
            usage.bytes += bytes;
        }
    }
}

/// Returns the size of a task in memory, which is about its size in the journal. It is constant while the task lives.
pub(super) fn bytes(record: &TaskRecord) -> usize {
    bytes_with(
        record.lineage.len(),
        record.description.len() + record.envelope.len(),
    )
}

/// Returns the size of a task with a lineage of this length and this many bytes of texts.
pub(super) fn bytes_with(lineage: usize, texts: usize) -> usize {
    TASK_BYTES + LINEAGE_BYTES * lineage + texts
}
