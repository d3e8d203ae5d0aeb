//! The state that the broker keeps between requests and across restarts: epochs, tasks, revocations.
//!
//! A change is written to the journal first, then applied in memory, then answered: every answered change is in the
//! journal.

mod cleanup;
mod entry;
mod frames;
mod journal;
mod nonces;
mod quotas;
mod shards;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ephyr_names::{AgentName, EpochId, TaskId, Timestamp};

pub use entry::{Binding, Revocation, StateEntry, TaskRecord};
pub use nonces::{MAX_PER_AGENT as MAX_NONCES_PER_AGENT, NonceError, Nonces};
pub use quotas::{MAX_TASKS, MAX_TASKS_PER_AGENT, Quotas};
pub use shards::Shards;

use crate::epoch::{Epoch, EpochEntry};
use crate::gate::Issued;
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError};
use frames::Frame;
use journal::{Journal, JournalContents};
use quotas::QuotaUsage;

/// Why the state was not changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The journal could not be written.
    #[error("the state journal cannot be written ({0}); nothing was changed")]
    Journal(#[from] io::Error),
    /// The limit on live tasks is reached.
    #[error("limit of {0} live tasks reached; retry when some have expired")]
    TooManyTasks(usize),
    /// The limit on the size of live tasks is reached.
    #[error(
        "limit of {0} MB of live tasks reached; shorten descriptions and envelopes, or retry when some tasks \
         have expired"
    )]
    TooLongTasks(usize),
    /// The task or one above it was revoked in the meantime.
    #[error("task {0} was revoked")]
    Revoked(TaskId),
    /// The task has ended in the meantime.
    #[error("task {0} has ended")]
    Gone(TaskId),
    /// The task is bound to another key.
    #[error("the task is already bound to another key")]
    BoundOtherwise,
}

/// Epochs, tasks and revocations.
pub struct State {
    writer: Mutex<Writer>,
    epochs: ArcSwap<Vec<Arc<Epoch>>>,
    tasks: Shards<TaskId, Arc<TaskRecord>>,
    children: Shards<TaskId, Arc<Vec<TaskId>>>,
    /// The tasks that an agent may list: its own, and those below roots that it created.
    by_agent: Shards<AgentName, BTreeSet<TaskId>>,
    revoked: Shards<TaskId, Revocation>,
    /// Number of `revoked`, so that the check costs one load in the common case without revocations.
    revocations: AtomicUsize,
    nonces: Nonces,
    /// Held during a compaction of the journal.
    compaction: Mutex<()>,
}

/// The parts that only changes of state access, under one lock.
struct Writer {
    journal: Journal,
    usage: QuotaUsage,
    certificates: Vec<Issued>,
}

impl Writer {
    /// Adds a certificate, which replaces the one that it renews.
    fn apply_certificate(&mut self, record: Issued) {
        self.certificates.retain(|old| !old.is_renewed_by(&record));
        self.certificates.push(record);
    }
}

/// The result of opening the state, for the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// There was no state: a first start or a reboot. All earlier tokens are invalid.
    Fresh,
    /// The previous state was recovered, with this number of live tasks.
    Resumed(usize),
    /// The journal was damaged, and how. All earlier tokens are invalid.
    Damaged(String),
}

impl State {
    /// Opens the state in `dir` and drops everything that has expired by `now`.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn open(dir: &Path, now: Timestamp) -> io::Result<(Self, Opened)> {
        Self::open_with(dir, Quotas::default(), now)
    }

    /// Opens the state as [`State::open`] does, with these quotas.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn open_with(dir: &Path, quotas: Quotas, now: Timestamp) -> io::Result<(Self, Opened)> {
        let (journal, found) = Journal::open::<StateEntry>(dir)?;
        let state = Self {
            writer: Mutex::new(Writer {
                journal,
                usage: QuotaUsage::new(quotas),
                certificates: Vec::new(),
            }),
            epochs: ArcSwap::default(),
            tasks: Shards::default(),
            children: Shards::default(),
            revoked: Shards::default(),
            by_agent: Shards::default(),
            revocations: AtomicUsize::new(0),
            nonces: Nonces::open(dir, now)?,
            compaction: Mutex::default(),
        };
        let opened = match found {
            JournalContents::Missing => Opened::Fresh,
            JournalContents::Damaged(why) => Opened::Damaged(why),
            JournalContents::Entries(entries) => {
                state.replay(entries)?;
                state.sweep(now);
                state.compact()?;
                Opened::Resumed(state.tasks.count())
            }
        };
        Ok((state, opened))
    }

    fn replay(&self, entries: Vec<StateEntry>) -> io::Result<()> {
        let mut writer = self.lock();
        let mut dropped = Vec::new();
        for entry in entries {
            match entry {
                StateEntry::Epoch(entry) => {
                    let epoch = Epoch::from_entry(entry).map_err(io::Error::other)?;
                    self.push_epoch(epoch);
                }
                StateEntry::Task(record) => self.apply_task(&mut writer, &Arc::new(record)),
                StateEntry::Bound(binding) => self.apply_binding(binding),
                StateEntry::Revoked(revocation) => self.apply_revocation(revocation),
                StateEntry::Certificate(record) => writer.apply_certificate(record),
                StateEntry::Ended(tasks) => {
                    let ended = tasks
                        .iter()
                        .filter_map(|id| self.tasks.remove_if(id, |_| true));
                    dropped.extend(ended.inspect(|record| self.forget_task(&mut writer, record)));
                }
            }
        }
        drop(writer);
        self.forget_children(&dropped);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_epoch(&self, epoch: Epoch) {
        let mut epochs = Vec::clone(&self.epochs.load());
        if epochs.iter().any(|known| known.id() == epoch.id()) {
            return;
        }
        epochs.push(Arc::new(epoch));
        self.epochs.store(Arc::new(epochs));
    }

    fn apply_task(&self, writer: &mut Writer, record: &Arc<TaskRecord>) {
        let (id, parent) = (record.id, record.parent());
        if self.tasks.insert(id, Arc::clone(record)).is_some() {
            return;
        }
        let initiator = (record.initiated_by != record.agent).then_some(&record.initiated_by);
        for agent in std::iter::once(&record.agent).chain(initiator) {
            self.by_agent.update_or_default(agent.clone(), |tasks| {
                tasks.insert(id);
            });
        }
        writer.usage.add(record);
        if let Some(parent) = parent {
            self.children
                .update_or_default(parent, |siblings| Arc::make_mut(siblings).push(id));
        }
    }

    fn apply_revocation(&self, revocation: Revocation) {
        if self.revoked.insert(revocation.task, revocation).is_none() {
            self.revocations.fetch_add(1, Ordering::Release);
        }
    }

    /// Adds an epoch.
    ///
    /// # Errors
    /// The epoch is not usable, or cannot be journalled.
    pub fn add_epoch(&self, entry: EpochEntry) -> Result<(), StateError> {
        let mut writer = self.lock();
        let epoch = Epoch::from_entry(entry.clone()).map_err(io::Error::other)?;
        writer.journal.append(&StateEntry::Epoch(entry))?;
        self.push_epoch(epoch);
        Ok(())
    }

    /// Returns the epoch of this id if its tokens may still be valid.
    #[must_use]
    pub fn epoch(&self, id: EpochId) -> Option<Arc<Epoch>> {
        self.epochs
            .load()
            .iter()
            .find(|epoch| epoch.id() == id)
            .cloned()
    }

    /// Returns the newest epoch, whether or not it may still mint.
    #[must_use]
    pub fn newest_epoch(&self) -> Option<Arc<Epoch>> {
        self.epochs.load().last().cloned()
    }

    /// Returns the newest epoch that may mint at `now`.
    #[must_use]
    pub fn minting_epoch(&self, now: Timestamp) -> Option<Arc<Epoch>> {
        self.epochs
            .load()
            .iter()
            .rev()
            .find(|epoch| now < epoch.mint_until())
            .cloned()
    }

    /// Creates a task.
    ///
    /// # Errors
    /// [`StateError`]; nothing is created.
    pub fn create_task(&self, record: impl Into<Arc<TaskRecord>>) -> Result<(), StateError> {
        let record = record.into();
        let frame = Frame::encode(&TaskEntry::Task(&record))?;
        let mut writer = self.lock();
        writer
            .usage
            .check(&record.initiated_by, quotas::bytes(&record))?;
        self.not_revoked(&record.lineage)?;
        writer.journal.append_frame(&frame)?;
        self.apply_task(&mut writer, &record);
        Ok(())
    }

    /// Checks whether [`State::create_task`] would now accept a task of this initiator with this many bytes of texts.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn check_room(
        &self,
        initiator: &AgentName,
        lineage: &[TaskId],
        texts: usize,
    ) -> Result<(), StateError> {
        // The lineage of a new root will hold its own id.
        let bytes = quotas::bytes_with(lineage.len().max(1), texts);
        self.lock().usage.check(initiator, bytes)?;
        self.not_revoked(lineage)
    }

    fn not_revoked(&self, lineage: &[TaskId]) -> Result<(), StateError> {
        match self.revoked(lineage) {
            None => Ok(()),
            Some(revoked) => Err(StateError::Revoked(revoked.task)),
        }
    }

    /// Returns a live task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<Arc<TaskRecord>> {
        self.tasks.get(&id)
    }

    /// Returns the number of live tasks.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.tasks.count()
    }

    /// Returns the newest `most` tasks that an agent may list, the oldest of them first, and the number of all that it
    /// may list.
    #[must_use]
    pub fn newest_of(&self, agent: &AgentName, most: usize) -> (Vec<Arc<TaskRecord>>, usize) {
        let newest = |tasks: &BTreeSet<TaskId>| {
            let newest: Vec<TaskId> = tasks.iter().rev().take(most).copied().collect();
            (newest, tasks.len())
        };
        let (newest, count) = self.by_agent.read(agent, newest).unwrap_or_default();
        let found = newest.into_iter().rev().filter_map(|id| self.task(id));
        (found.collect(), count)
    }

    /// Returns the nonces of accepted proofs.
    #[must_use]
    pub fn nonces(&self) -> &Nonces {
        &self.nonces
    }

    /// Returns whether no task is below this one.
    #[must_use]
    pub fn is_leaf(&self, task: TaskId) -> bool {
        self.children
            .get(&task)
            .is_none_or(|below| below.is_empty())
    }

    /// Returns the task and all tasks below it, parents first. There may be many: call it on a thread that may block.
    #[must_use]
    pub fn subtree(&self, task: TaskId) -> Vec<TaskId> {
        let mut found = vec![task];
        let mut at = 0;
        while let Some(id) = found.get(at).copied() {
            found.extend(
                self.children
                    .get(&id)
                    .iter()
                    .flat_map(|c| c.iter().copied()),
            );
            at += 1;
        }
        found
    }

    fn apply_binding(&self, binding: Binding) {
        self.tasks.update(&binding.task, |record| {
            let mut bound = TaskRecord::clone(record);
            bound.holder = Some(binding.holder);
            bound.bind_deadline = None;
            *record = Arc::new(bound);
        });
    }

    /// Binds a task to a key, which invalidates its unbound token. Binding to the same key again changes nothing.
    ///
    /// # Errors
    /// [`StateError`]; nothing is changed.
    pub fn bind(&self, binding: Binding, now: Timestamp) -> Result<(), StateError> {
        let mut writer = self.lock();
        let record = self
            .task(binding.task)
            .filter(|record| now < record.expires);
        let Some(record) = record else {
            return Err(StateError::Gone(binding.task));
        };
        match record.holder {
            Some(holder) if holder == binding.holder => return Ok(()),
            Some(_) => return Err(StateError::BoundOtherwise),
            None => {}
        }
        if record.bind_deadline.is_some_and(|deadline| deadline <= now) {
            return Err(StateError::Gone(binding.task));
        }
        if let Some(revoked) = self.revoked(&record.lineage) {
            return Err(StateError::Revoked(revoked.task));
        }
        writer.journal.append(&StateEntry::Bound(binding))?;
        self.apply_binding(binding);
        Ok(())
    }

    /// Revokes a task and all tasks below it: no token with it in its lineage is accepted any more. Revoking again
    /// changes nothing.
    ///
    /// # Errors
    /// The revocation cannot be journalled; nothing is revoked.
    pub fn revoke(&self, task: &TaskRecord, now: Timestamp) -> Result<(), StateError> {
        let mut writer = self.lock();
        if self.revoked.contains(&task.id) {
            return Ok(());
        }
        let until = self
            .task(task.root())
            .map_or(task.expires, |root| root.expires);
        let revocation = Revocation {
            task: task.id,
            at: now,
            until,
        };
        writer.journal.append(&StateEntry::Revoked(revocation))?;
        self.apply_revocation(revocation);
        Ok(())
    }

    /// Returns the first revocation of a task in a lineage.
    #[must_use]
    pub fn revoked(&self, lineage: &[TaskId]) -> Option<Revocation> {
        if self.revocations.load(Ordering::Acquire) == 0 {
            return None;
        }
        lineage.iter().find_map(|task| self.revoked.get(task))
    }

    /// Records a certificate before it is returned to an agent.
    ///
    /// # Errors
    /// The certificate cannot be journalled and must not be returned.
    pub fn add_certificate(&self, record: Issued) -> Result<(), StateError> {
        let mut writer = self.lock();
        let entry = StateEntry::Certificate(record);
        writer.journal.append(&entry)?;
        if let StateEntry::Certificate(record) = entry {
            writer.apply_certificate(record);
        }
        Ok(())
    }

    /// Returns the certificates issued to agents.
    #[must_use]
    pub fn certificates(&self) -> Vec<Issued> {
        self.lock().certificates.clone()
    }
}

/// [`StateEntry::Task`] by reference; it serializes the same.
#[derive(serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum TaskEntry<'a> {
    Task(&'a TaskRecord),
}

#[cfg(test)]
mod tests;
