//! What keeps the state small: dropping what has ended, and rewriting the journal. Neither holds up whoever
//! changes something meanwhile for longer than a few tasks take.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use ephyr_names::{TaskId, Timestamp};
use ephyr_sandbox::Displaced;

use super::journal::Successor;
use super::{Disk, State, StateEntry, TaskRecord};
use crate::sync::{Ordering, PoisonError};

/// Ended tasks that are dropped while nobody else can change anything.
const DROPPED_AT_ONCE: usize = 64;
/// The two files, for people.
const JOURNAL: &str = "the state journal";
const NONCES: &str = "the file of nonces";
/// The journal is rewritten when it is this long and mostly dead.
pub(super) const COMPACT_BYTES: u64 = 1 << 20;

impl State {
    /// Drops what has expired by `now` and what can never be used again; tells how many tasks fell. Whoever
    /// changes something meanwhile waits for a few of them at most.
    pub fn sweep(&self, now: Timestamp) -> usize {
        let mut over = Vec::new();
        self.tasks.for_each(|id, record| {
            if is_over(record, now) {
                over.push(*id);
            }
        });
        let mut fallen = Vec::with_capacity(over.len());
        for some in over.chunks(DROPPED_AT_ONCE) {
            fallen.extend(self.drop_tasks(some, now));
        }
        self.forget_children(&fallen);
        self.nonces.sweep(now);
        let mut disk = self.lock();
        disk.certificates.retain(|record| now < record.expires);
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
        fallen.len()
    }

    /// Drops a task that is over, with all below it, so that a clock that is set back revives none of them.
    /// One that lives is left alone.
    pub fn end(&self, task: TaskId, now: Timestamp) {
        if !self.task(task).is_some_and(|record| is_over(&record, now)) {
            return;
        }
        for some in self.subtree(task).chunks(DROPPED_AT_ONCE) {
            for fallen in self.drop_tasks(some, now) {
                // The sweep would look at all other parents, too.
                self.children.remove_if(&fallen.id, |_| true);
                if let Some(parent) = fallen.parent() {
                    self.children.update(&parent, |children| {
                        Arc::make_mut(children).retain(|child| *child != fallen.id);
                    });
                }
            }
        }
    }

    /// Drops those that are over still: one may have been bound meanwhile. They are gone even where the
    /// journal cannot be written; only a clock set back before a restart could then revive them.
    fn drop_tasks(&self, tasks: &[TaskId], now: Timestamp) -> Vec<Arc<TaskRecord>> {
        let mut disk = self.lock();
        let fallen: Vec<_> = tasks
            .iter()
            .filter_map(|id| self.tasks.remove_if(id, |record| is_over(record, now)))
            .inspect(|record| self.forget_task(&mut disk, record))
            .collect();
        if !fallen.is_empty() {
            let ended = fallen.iter().map(|record| record.id).collect();
            let _ = disk.journal.append(&StateEntry::Ended(ended));
        }
        fallen
    }

    /// What is counted and listed of a task that is gone.
    pub(super) fn forget_task(&self, disk: &mut Disk, record: &TaskRecord) {
        disk.room.give_back(record);
        for agent in [&record.agent, &record.initiated_by] {
            self.by_agent
                .update(agent, |tasks| tasks.remove(&record.id));
        }
    }

    pub(super) fn forget_children(&self, fallen: &[Arc<TaskRecord>]) {
        if fallen.is_empty() {
            return;
        }
        let bereaved: HashSet<TaskId> = fallen.iter().filter_map(|task| task.parent()).collect();
        for parent in &bereaved {
            self.children.update(parent, |children| {
                let children = Arc::make_mut(children);
                children.retain(|child| self.tasks.contains(child));
                children.shrink_to(2 * children.len());
            });
        }
        self.children
            .retain(|parent, _| self.tasks.contains(parent));
        self.by_agent.retain(|_, tasks| !tasks.is_empty());
        self.tasks.give_back();
    }

    /// Rewrites the journal when most of it is dead.
    ///
    /// # Errors
    /// When it cannot be written; the old journal goes on then.
    pub fn compact_if_worthwhile(&self) -> io::Result<()> {
        let (live, len) = {
            let disk = self.lock();
            (disk.room.bytes() as u64 + 700, disk.journal.len())
        };
        if len > COMPACT_BYTES && len > 3 * live {
            self.compact()
        } else {
            Ok(())
        }
    }

    /// Returns a message about a state file that was taken away and cannot be written.
    #[must_use]
    pub fn displaced(&self) -> Option<String> {
        let journal = self.lock().journal.displaced();
        for (what, found) in [(JOURNAL, journal), (NONCES, self.nonces.displaced())] {
            match found {
                Ok(None) => {}
                Ok(Some(how)) => return Some(format!("{what} was {how} while in use")),
                Err(error) => return Some(format!("{what}: {error}")),
            }
        }
        None
    }

    /// Restores files that were taken away; memory has the full state. Until then nothing is changed and no proof
    /// is accepted. Returns each restored file and what happened to it.
    ///
    /// # Errors
    /// The file cannot be written; nothing is changed until it can.
    pub fn restore_files(&self, now: Timestamp) -> io::Result<Vec<(&'static str, Displaced)>> {
        let mut restored = Vec::new();
        let journal = self.lock().journal.displaced()?;
        if let Some(how) = journal {
            self.compact()?;
            restored.push((JOURNAL, how));
        }
        if let Some(how) = self.nonces.restore(now)? {
            restored.push((NONCES, how));
        }
        Ok(restored)
    }

    /// Rewrites the journal. What is changed meanwhile goes into the old one and from there into the new.
    ///
    /// # Errors
    /// When it cannot be written; the old journal goes on then.
    pub fn compact(&self) -> io::Result<()> {
        let _alone = self
            .rewriting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (dir, old, mark, certificates) = {
            let disk = self.lock();
            let certificates = disk.certificates.clone();
            (
                disk.journal.dir().to_owned(),
                disk.journal.reader()?,
                disk.journal.len(),
                certificates,
            )
        };
        let epochs = self.epochs.load();
        let (mut tasks, mut revoked) = (Vec::new(), Vec::new());
        self.tasks
            .for_each(|_, record| tasks.push(Arc::clone(record)));
        self.revoked
            .for_each(|_, revocation| revoked.push(*revocation));
        let entries = epochs
            .iter()
            .map(|epoch| StateEntry::Epoch(epoch.entry().clone()))
            .chain(
                tasks
                    .iter()
                    .map(|task| StateEntry::Task(TaskRecord::clone(task))),
            )
            .chain(revoked.into_iter().map(StateEntry::Revoked))
            .chain(certificates.into_iter().map(StateEntry::Certificate));
        let mut new = Successor::write(&dir, old, mark, entries)?;
        let so_far = self.lock().journal.len();
        new.follow(so_far)?;
        self.lock().journal.replace(new)
    }
}

/// Whether a task is over, or can never be bound any more where it must be.
fn is_over(record: &TaskRecord, now: Timestamp) -> bool {
    let unbound = record.holder.is_none() && record.bind_deadline.is_some_and(|d| d <= now);
    record.expires <= now || unbound
}
