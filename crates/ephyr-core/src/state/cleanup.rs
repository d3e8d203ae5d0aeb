//! Keeps the state small: drops expired tasks and compacts the journal. Both take the writer's lock only briefly, so
//! concurrent changes are not delayed.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use ephyr_names::{TaskId, Timestamp};
use ephyr_sandbox::Displaced;

use super::journal::Successor;
use super::{State, StateEntry, TaskRecord, Writer};
use crate::sync::{Ordering, PoisonError};

/// Maximum number of tasks dropped under one lock.
const DROP_BATCH: usize = 64;
/// The names of the two files in messages.
const JOURNAL: &str = "the state journal";
const NONCES: &str = "the nonce file";
/// Minimum length of a journal to compact, in bytes.
pub(super) const COMPACT_BYTES: u64 = 1 << 20;

impl State {
    /// Drops all state that has expired by `now` and returns the number of tasks dropped. Concurrent changes wait for
    /// a batch of tasks at most.
    pub fn sweep(&self, now: Timestamp) -> usize {
        let mut ended = Vec::new();
        self.tasks.for_each(|id, record| {
            if has_ended(record, now) {
                ended.push(*id);
            }
        });
        let mut dropped = Vec::with_capacity(ended.len());
        for some in ended.chunks(DROP_BATCH) {
            dropped.extend(self.drop_tasks(some, now));
        }
        self.forget_children(&dropped);
        self.nonces.sweep(now);
        let mut writer = self.lock();
        writer.certificates.retain(|record| now < record.expires);
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
        dropped.len()
    }

    /// Drops a task that has ended, with all tasks below it, so that a clock set back revives none of them. A live
    /// task is not changed.
    pub fn end(&self, task: TaskId, now: Timestamp) {
        if !self
            .task(task)
            .is_some_and(|record| has_ended(&record, now))
        {
            return;
        }
        for some in self.subtree(task).chunks(DROP_BATCH) {
            for dropped in self.drop_tasks(some, now) {
                // `forget_children` would visit all other parents too.
                self.children.remove_if(&dropped.id, |_| true);
                if let Some(parent) = dropped.parent() {
                    self.children.update(&parent, |children| {
                        Arc::make_mut(children).retain(|child| *child != dropped.id);
                    });
                }
            }
        }
    }

    /// Drops those of the tasks that have ended, checking again since one may have been bound meanwhile. They are
    /// dropped even if the journal cannot be written; then only a clock set back before a restart could revive them.
    fn drop_tasks(&self, tasks: &[TaskId], now: Timestamp) -> Vec<Arc<TaskRecord>> {
        let mut writer = self.lock();
        let dropped: Vec<_> = tasks
            .iter()
            .filter_map(|id| self.tasks.remove_if(id, |record| has_ended(record, now)))
            .inspect(|record| self.forget_task(&mut writer, record))
            .collect();
        if !dropped.is_empty() {
            let ended = dropped.iter().map(|record| record.id).collect();
            let _ = writer.journal.append(&StateEntry::Ended(ended));
        }
        dropped
    }

    /// Removes a dropped task from quotas and lists.
    pub(super) fn forget_task(&self, writer: &mut Writer, record: &TaskRecord) {
        writer.usage.remove(record);
        for agent in [&record.agent, &record.initiated_by] {
            self.by_agent
                .update(agent, |tasks| tasks.remove(&record.id));
        }
    }

    /// Removes dropped tasks from the children of their parents.
    pub(super) fn forget_children(&self, dropped: &[Arc<TaskRecord>]) {
        if dropped.is_empty() {
            return;
        }
        let parents: HashSet<TaskId> = dropped.iter().filter_map(|task| task.parent()).collect();
        for parent in &parents {
            self.children.update(parent, |children| {
                let children = Arc::make_mut(children);
                children.retain(|child| self.tasks.contains(child));
                children.shrink_to(2 * children.len());
            });
        }
        self.children
            .retain(|parent, _| self.tasks.contains(parent));
        self.by_agent.retain(|_, tasks| !tasks.is_empty());
        self.tasks.shrink();
    }

    /// Compacts the journal if it is long and mostly dead.
    ///
    /// # Errors
    /// The new journal cannot be written; the old one stays in use.
    pub fn compact_if_worthwhile(&self) -> io::Result<()> {
        let (live, len) = {
            let writer = self.lock();
            (writer.usage.bytes() as u64 + 700, writer.journal.len())
        };
        if len > COMPACT_BYTES && len > 3 * live {
            self.compact()
        } else {
            Ok(())
        }
    }

    /// Returns a message about a state file that was displaced and not restored yet, or cannot be checked.
    #[must_use]
    pub fn displaced(&self) -> Option<String> {
        let journal = self.lock().journal.displaced();
        for (file, found) in [(JOURNAL, journal), (NONCES, self.nonces.displaced())] {
            match found {
                Ok(None) => {}
                Ok(Some(how)) => return Some(format!("{file} was {how} while in use")),
                Err(error) => return Some(format!("{file}: {error}")),
            }
        }
        None
    }

    /// Rewrites displaced files from memory, which has the full state. Until then changes and proofs are refused.
    /// Returns each restored file and what happened to it.
    ///
    /// # Errors
    /// The file cannot be written; changes stay refused until it can.
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

    /// Compacts the journal. Changes made meanwhile go to the old one and are copied from there.
    ///
    /// # Errors
    /// The new journal cannot be written; the old one stays in use.
    pub fn compact(&self) -> io::Result<()> {
        let _compacting = self
            .compaction
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (dir, old, mark, certificates) = {
            let writer = self.lock();
            let certificates = writer.certificates.clone();
            (
                writer.journal.dir().to_owned(),
                writer.journal.reader()?,
                writer.journal.len(),
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

/// Returns whether a task has expired or missed its bind deadline.
fn has_ended(record: &TaskRecord, now: Timestamp) -> bool {
    let unbound = record.holder.is_none() && record.bind_deadline.is_some_and(|d| d <= now);
    record.expires <= now || unbound
}
