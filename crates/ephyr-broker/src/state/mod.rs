//! What the broker remembers between requests and across restarts: epochs, tasks, revocations.
//!
//! One rule: the journal first, then memory, then the answer. Whatever was answered is in the journal.

mod entry;
mod journal;
mod shards;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use ephyr_names::{AgentName, EpochId, TaskId, Timestamp};

pub use entry::{Binding, CertificateRecord, Entry, EpochEntry, Revocation, Secret, TaskRecord};
pub use shards::Shards;

use crate::epoch::Epoch;
use journal::{Found, Frame, Journal};

/// Live tasks of one agent at once.
pub const MAX_TASKS_PER_AGENT: usize = 150_000;
/// Live tasks of everyone at once; with their records about 100 MB.
pub const MAX_TASKS: usize = 250_000;
/// The journal is rewritten when it is this long and mostly dead.
const COMPACT_BYTES: u64 = 1 << 20;

/// Why a change of state did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The journal could not be written.
    #[error("the state journal cannot be written ({0}); nothing was changed")]
    Journal(#[from] io::Error),
    /// Too many tasks live at once.
    #[error("{0} live tasks are the most that are kept; revoke some or let them expire")]
    TooManyTasks(usize),
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
    revoked: Shards<TaskId, Revocation>,
    /// Number of `revoked`, so that the common case costs one load.
    revocations: AtomicUsize,
}

/// What only writers touch, under one lock.
struct Disk {
    journal: Journal,
    per_agent: HashMap<AgentName, usize>,
    total: usize,
    certificates: Vec<CertificateRecord>,
}

impl Disk {
    /// A renewed certificate takes the place, and the slot, of the one before it.
    fn keep_certificate(&mut self, record: CertificateRecord) {
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
        let (journal, found) = Journal::open::<Entry>(dir)?;
        let state = Self {
            disk: Mutex::new(Disk {
                journal,
                per_agent: HashMap::new(),
                total: 0,
                certificates: Vec::new(),
            }),
            epochs: ArcSwap::default(),
            tasks: Shards::default(),
            children: Shards::default(),
            revoked: Shards::default(),
            revocations: AtomicUsize::new(0),
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

    fn replay(&self, entries: Vec<Entry>) -> io::Result<()> {
        let mut disk = self.lock();
        for entry in entries {
            match entry {
                Entry::Epoch(entry) => {
                    let epoch = Epoch::from_entry(entry).map_err(io::Error::other)?;
                    self.push_epoch(epoch);
                }
                Entry::Task(record) => self.keep_task(&mut disk, record),
                Entry::Bound(binding) => self.keep_binding(binding),
                Entry::Revoked(revocation) => self.keep_revocation(revocation),
                Entry::Certificate(record) => disk.keep_certificate(record),
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_epoch(&self, epoch: Epoch) {
        let mut epochs = Vec::clone(&self.epochs.load());
        epochs.push(Arc::new(epoch));
        self.epochs.store(Arc::new(epochs));
    }

    fn keep_task(&self, disk: &mut Disk, record: TaskRecord) {
        let (id, parent, agent) = (record.id, record.parent(), record.agent.clone());
        if self.tasks.insert(id, Arc::new(record)).is_some() {
            return;
        }
        *disk.per_agent.entry(agent).or_default() += 1;
        disk.total += 1;
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
        disk.journal.append(&Entry::Epoch(entry))?;
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
    pub fn create_task(&self, record: TaskRecord) -> Result<(), StateError> {
        let frame = Frame::of(&TaskEntry::Task(&record))?;
        let mut disk = self.lock();
        if disk.total >= MAX_TASKS {
            return Err(StateError::TooManyTasks(MAX_TASKS));
        }
        if disk
            .per_agent
            .get(&record.agent)
            .is_some_and(|n| *n >= MAX_TASKS_PER_AGENT)
        {
            return Err(StateError::TooManyTasks(MAX_TASKS_PER_AGENT));
        }
        if let Some(revoked) = self.revoked(&record.lineage) {
            return Err(StateError::Revoked(revoked.task));
        }
        disk.journal.append_frame(&frame)?;
        self.keep_task(&mut disk, record);
        Ok(())
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

    /// The tasks that `want` wants, oldest first.
    #[must_use]
    pub fn tasks(&self, mut want: impl FnMut(&TaskRecord) -> bool) -> Vec<Arc<TaskRecord>> {
        let mut found = Vec::new();
        self.tasks.for_each(|_, record| {
            if want(record) {
                found.push(Arc::clone(record));
            }
        });
        found.sort_by_key(|record| record.id);
        found
    }

    /// The task and all below it, from the top down.
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
        disk.journal.append(&Entry::Bound(binding))?;
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
        disk.journal.append(&Entry::Revoked(revocation))?;
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
    pub fn add_certificate(&self, record: CertificateRecord) -> Result<(), StateError> {
        let mut disk = self.lock();
        let entry = Entry::Certificate(record);
        disk.journal.append(&entry)?;
        if let Entry::Certificate(record) = entry {
            disk.keep_certificate(record);
        }
        Ok(())
    }

    /// The certificates in agents' hands.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateRecord> {
        self.lock().certificates.clone()
    }

    /// Drops what has expired by `now` and what can never be used again; tells how many tasks fell.
    pub fn sweep(&self, now: Timestamp) -> usize {
        let mut disk = self.lock();
        let mut gone: HashMap<AgentName, usize> = HashMap::new();
        let mut bereaved: HashSet<TaskId> = HashSet::new();
        let fallen = self.tasks.retain(|_, record| {
            let unbound = record.holder.is_none() && record.bind_deadline.is_some_and(|d| d <= now);
            let keep = now < record.expires && !unbound;
            if !keep {
                *gone.entry(record.agent.clone()).or_default() += 1;
                bereaved.extend(record.parent());
            }
            keep
        });
        for (agent, count) in gone {
            if let Some(left) = disk.per_agent.get_mut(&agent) {
                *left = left.saturating_sub(count);
            }
        }
        disk.per_agent.retain(|_, left| *left > 0);
        disk.total = disk.total.saturating_sub(fallen);
        disk.certificates.retain(|record| now < record.expires);
        self.children
            .retain(|parent, _| self.tasks.contains(parent));
        for parent in &bereaved {
            self.children.update(parent, |children| {
                let children = Arc::make_mut(children);
                children.retain(|child| self.tasks.contains(child));
                children.shrink_to(2 * children.len());
            });
        }
        let forgotten = self.revoked.retain(|_, revocation| now < revocation.until);
        self.revocations.fetch_sub(forgotten, Ordering::AcqRel);
        let epochs = self.epochs.load();
        if epochs.iter().any(|epoch| epoch.valid_until() <= now) {
            let alive = epochs
                .iter()
                .filter(|e| now < e.valid_until())
                .cloned()
                .collect();
            self.epochs.store(Arc::new(alive));
        }
        fallen
    }

    /// Rewrites the journal when most of it is dead.
    ///
    /// # Errors
    /// When it cannot be written; the old journal goes on then.
    pub fn compact_if_worthwhile(&self) -> io::Result<()> {
        let live = 700 * (self.tasks.count() as u64 + 1);
        let len = self.lock().journal.len();
        if len > COMPACT_BYTES && len > 3 * live {
            self.compact()
        } else {
            Ok(())
        }
    }

    fn compact(&self) -> io::Result<()> {
        let mut disk = self.lock();
        let epochs = self.epochs.load();
        let tasks = self.tasks(|_| true);
        let mut revoked = Vec::new();
        self.revoked
            .for_each(|_, revocation| revoked.push(*revocation));
        let entries = epochs
            .iter()
            .map(|epoch| Entry::Epoch(epoch.entry().clone()))
            .chain(
                tasks
                    .iter()
                    .map(|task| Entry::Task(TaskRecord::clone(task))),
            )
            .chain(revoked.into_iter().map(Entry::Revoked))
            .chain(
                disk.certificates
                    .clone()
                    .into_iter()
                    .map(Entry::Certificate),
            );
        disk.journal.compact(entries)
    }
}

/// [`Entry::Task`] without giving the record away.
#[derive(serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum TaskEntry<'a> {
    Task(&'a TaskRecord),
}

#[cfg(test)]
mod tests;
