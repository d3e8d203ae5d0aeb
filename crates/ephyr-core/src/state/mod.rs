//! What the broker remembers between requests and across restarts: epochs, tasks, revocations.
//!
//! One rule: the journal first, then memory, then the answer. Whatever was answered is in the journal.

mod entry;
mod frames;
mod journal;
mod nonces;
mod room;
mod shards;
mod upkeep;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ephyr_names::{AgentName, EpochId, TaskId, Timestamp};

pub use entry::{Binding, Revocation, StateEntry, TaskRecord};
pub use nonces::{MAX_PER_AGENT as MAX_NONCES_PER_AGENT, NonceError, Nonces};
pub use room::{MAX_TASKS, MAX_TASKS_PER_AGENT, Quotas};
pub use shards::Shards;

use crate::epoch::{Epoch, EpochEntry};
use crate::gate::Issued;
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError};
use frames::Frame;
use journal::{Found, Journal};
use room::Room;

/// Why a change of state did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The journal could not be written.
    #[error("the state journal cannot be written ({0}); nothing was changed")]
    Journal(#[from] io::Error),
    /// Too many tasks live at once.
    #[error("{0} live tasks are the most that are kept; there is room when some have expired")]
    TooManyTasks(usize),
    /// The live tasks' descriptions and envelopes are too long together.
    #[error(
        "{0} MB of live tasks are the most that are kept; shorter descriptions and envelopes leave more \
         room, and there is some when others have expired"
    )]
    TooLongTasks(usize),
    /// A task above it has been revoked in the meantime.
    #[error("task {0} was revoked")]
    Revoked(TaskId),
    /// The task has ended in the meantime.
    #[error("task {0} has ended")]
    Gone(TaskId),
    /// The task is bound to another key.
    #[error("the task is bound to another key already")]
    BoundOtherwise,
}

/// Epochs, tasks and revocations.
pub struct State {
    disk: Mutex<Disk>,
    epochs: ArcSwap<Vec<Arc<Epoch>>>,
    tasks: Shards<TaskId, Arc<TaskRecord>>,
    children: Shards<TaskId, Arc<Vec<TaskId>>>,
    /// The tasks that are an agent's to see: its own, and those below the roots that it made.
    by_agent: Shards<AgentName, BTreeSet<TaskId>>,
    revoked: Shards<TaskId, Revocation>,
    /// Number of `revoked`, so that the common case costs one load.
    revocations: AtomicUsize,
    nonces: Nonces,
    /// Held by whoever rewrites the journal.
    rewriting: Mutex<()>,
}

/// What only writers touch, under one lock.
struct Disk {
    journal: Journal,
    room: Room,
    certificates: Vec<Issued>,
}

impl Disk {
    /// A renewed certificate takes the place, and the slot, of the one before it.
    fn keep_certificate(&mut self, record: Issued) {
        self.certificates.retain(|old| !old.is_renewed_by(&record));
        self.certificates.push(record);
    }
}

/// What opening the state found, for the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: a first start or a reboot. All earlier tokens are dead.
    Fresh,
    /// The state of before, with so many live tasks.
    Resumed(usize),
    /// A damaged journal; all earlier tokens are dead.
    Damaged(String),
}

impl State {
    /// Opens the state under `dir`, dropping what has expired by `now`.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn open(dir: &Path, now: Timestamp) -> io::Result<(Self, Opened)> {
        Self::open_with(dir, Quotas::default(), now)
    }

    /// As [`State::open`], with these quotas.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn open_with(dir: &Path, quotas: Quotas, now: Timestamp) -> io::Result<(Self, Opened)> {
        let (journal, found) = Journal::open::<StateEntry>(dir)?;
        let state = Self {
            disk: Mutex::new(Disk {
                journal,
                room: Room::new(quotas),
                certificates: Vec::new(),
            }),
            epochs: ArcSwap::default(),
            tasks: Shards::default(),
            children: Shards::default(),
            revoked: Shards::default(),
            by_agent: Shards::default(),
            revocations: AtomicUsize::new(0),
            nonces: Nonces::open(dir, now)?,
            rewriting: Mutex::default(),
        };
        let opened = match found {
            Found::Nothing => Opened::Fresh,
            Found::Damaged(why) => Opened::Damaged(why),
            Found::Entries(entries) => {
                state.replay(entries)?;
                state.sweep(now);
                state.compact()?;
                Opened::Resumed(state.tasks.count())
            }
        };
        Ok((state, opened))
    }

    fn replay(&self, entries: Vec<StateEntry>) -> io::Result<()> {
        let mut disk = self.lock();
        let mut fallen = Vec::new();
        for entry in entries {
            match entry {
                StateEntry::Epoch(entry) => {
                    let epoch = Epoch::from_entry(entry).map_err(io::Error::other)?;
                    self.push_epoch(epoch);
                }
                StateEntry::Task(record) => self.keep_task(&mut disk, &Arc::new(record)),
                StateEntry::Bound(binding) => self.keep_binding(binding),
                StateEntry::Revoked(revocation) => self.keep_revocation(revocation),
                StateEntry::Certificate(record) => disk.keep_certificate(record),
                StateEntry::Ended(tasks) => {
                    let ended = tasks
                        .iter()
                        .filter_map(|id| self.tasks.remove_if(id, |_| true));
                    fallen.extend(ended.inspect(|record| self.forget_task(&mut disk, record)));
                }
            }
        }
        drop(disk);
        self.forget_children(&fallen);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_epoch(&self, epoch: Epoch) {
        let mut epochs = Vec::clone(&self.epochs.load());
        if epochs.iter().any(|known| known.id() == epoch.id()) {
            return;
        }
        epochs.push(Arc::new(epoch));
        self.epochs.store(Arc::new(epochs));
    }

    fn keep_task(&self, disk: &mut Disk, record: &Arc<TaskRecord>) {
        let (id, parent) = (record.id, record.parent());
        if self.tasks.insert(id, Arc::clone(record)).is_some() {
            return;
        }
        let initiator = (record.initiated_by != record.agent).then_some(&record.initiated_by);
        for agent in std::iter::once(&record.agent).chain(initiator) {
            self.by_agent.change(agent.clone(), |tasks| {
                tasks.insert(id);
            });
        }
        disk.room.take(record);
        if let Some(parent) = parent {
            self.children
                .change(parent, |siblings| Arc::make_mut(siblings).push(id));
        }
    }

    fn keep_revocation(&self, revocation: Revocation) {
        if self.revoked.insert(revocation.task, revocation).is_none() {
            self.revocations.fetch_add(1, Ordering::Release);
        }
    }

    /// Starts to use an epoch.
    ///
    /// # Errors
    /// When it could not be journalled.
    pub fn add_epoch(&self, entry: EpochEntry) -> Result<(), StateError> {
        let mut disk = self.lock();
        let epoch = Epoch::from_entry(entry.clone()).map_err(io::Error::other)?;
        disk.journal.append(&StateEntry::Epoch(entry))?;
        self.push_epoch(epoch);
        Ok(())
    }

    /// The epoch of this id, if its tokens can still be alive.
    #[must_use]
    pub fn epoch(&self, id: EpochId) -> Option<Arc<Epoch>> {
        self.epochs
            .load()
            .iter()
            .find(|epoch| epoch.id() == id)
            .cloned()
    }

    /// The newest epoch, whether or not it may still mint.
    #[must_use]
    pub fn newest_epoch(&self) -> Option<Arc<Epoch>> {
        self.epochs.load().last().cloned()
    }

    /// The newest epoch that may mint at `now`.
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
    /// [`StateError`]; nothing was created then.
    pub fn create_task(&self, record: impl Into<Arc<TaskRecord>>) -> Result<(), StateError> {
        let record = record.into();
        let frame = Frame::of(&TaskEntry::Task(&record))?;
        let mut disk = self.lock();
        disk.room
            .check(&record.initiated_by, room::bytes(&record))?;
        self.not_revoked(&record.lineage)?;
        disk.journal.append_frame(&frame)?;
        self.keep_task(&mut disk, &record);
        Ok(())
    }

    /// What [`State::create_task`] would answer now for a task of this initiator's with texts of so many bytes.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn check_room(
        &self,
        initiator: &AgentName,
        lineage: &[TaskId],
        texts: usize,
    ) -> Result<(), StateError> {
        // A root has no id yet that would stand there.
        let bytes = room::bytes_with(lineage.len().max(1), texts);
        self.lock().room.check(initiator, bytes)?;
        self.not_revoked(lineage)
    }

    fn not_revoked(&self, lineage: &[TaskId]) -> Result<(), StateError> {
        match self.revoked(lineage) {
            None => Ok(()),
            Some(revoked) => Err(StateError::Revoked(revoked.task)),
        }
    }

    /// A live task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<Arc<TaskRecord>> {
        self.tasks.get(&id)
    }

    /// Number of live tasks.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.tasks.count()
    }

    /// The newest tasks that are an agent's to see, at most `most`, the oldest of them first; and how many
    /// there are.
    #[must_use]
    pub fn newest_of(&self, agent: &AgentName, most: usize) -> (Vec<Arc<TaskRecord>>, usize) {
        let newest = |tasks: &BTreeSet<TaskId>| {
            let newest: Vec<TaskId> = tasks.iter().rev().take(most).copied().collect();
            (newest, tasks.len())
        };
        let (newest, count) = self.by_agent.look(agent, newest).unwrap_or_default();
        let found = newest.into_iter().rev().filter_map(|id| self.task(id));
        (found.collect(), count)
    }

    /// Nonces of proofs.
    #[must_use]
    pub fn nonces(&self) -> &Nonces {
        &self.nonces
    }

    /// Whether nothing is below the task.
    #[must_use]
    pub fn is_leaf(&self, task: TaskId) -> bool {
        self.children
            .get(&task)
            .is_none_or(|below| below.is_empty())
    }

    /// The task and all below it, from the top down. They may be many: ask on a thread that may block.
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

    fn keep_binding(&self, binding: Binding) {
        self.tasks.update(&binding.task, |record| {
            let mut bound = TaskRecord::clone(record);
            bound.holder = Some(binding.holder);
            bound.bind_deadline = None;
            *record = Arc::new(bound);
        });
    }

    /// Binds a task to a key: its unbound token is dead from here on. Binding to the same key again changes
    /// nothing.
    ///
    /// # Errors
    /// [`StateError`]; nothing changed then.
    pub fn bind(&self, binding: Binding, now: Timestamp) -> Result<(), StateError> {
        let mut disk = self.lock();
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
        disk.journal.append(&StateEntry::Bound(binding))?;
        self.keep_binding(binding);
        Ok(())
    }

    /// Revokes a task and all below it: from here on no token with it in its lineage is accepted.
    /// Revoking again changes nothing.
    ///
    /// # Errors
    /// When it could not be journalled; nothing is revoked then.
    pub fn revoke(&self, task: &TaskRecord, now: Timestamp) -> Result<(), StateError> {
        let mut disk = self.lock();
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
        disk.journal.append(&StateEntry::Revoked(revocation))?;
        self.keep_revocation(revocation);
        Ok(())
    }

    /// The first revocation that a lineage meets.
    #[must_use]
    pub fn revoked(&self, lineage: &[TaskId]) -> Option<Revocation> {
        if self.revocations.load(Ordering::Acquire) == 0 {
            return None;
        }
        lineage.iter().find_map(|task| self.revoked.get(task))
    }

    /// Remembers a certificate that goes into an agent's hands.
    ///
    /// # Errors
    /// When it could not be journalled; the certificate must not be given out then.
    pub fn add_certificate(&self, record: Issued) -> Result<(), StateError> {
        let mut disk = self.lock();
        let entry = StateEntry::Certificate(record);
        disk.journal.append(&entry)?;
        if let StateEntry::Certificate(record) = entry {
            disk.keep_certificate(record);
        }
        Ok(())
    }

    /// The certificates in agents' hands.
    #[must_use]
    pub fn certificates(&self) -> Vec<Issued> {
        self.lock().certificates.clone()
    }
}

/// [`StateEntry::Task`] without giving the record away.
#[derive(serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum TaskEntry<'a> {
    Task(&'a TaskRecord),
}

#[cfg(test)]
mod tests;
