//! What waits for the writer's thread: bounded, and merged where it repeats itself.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use ephyr_names::{Digest, RecordId};

use crate::error::{AuditError, Failure, OpenError};
use crate::record::Record;
use crate::writer::Completion;
use ephyr_chain::EncodedRecord;
use ephyr_chain::Fold;

/// How long a record that nobody waits for may wait for others. It is on disk within a second.
pub(crate) const RELAXED_DELAY: Duration = Duration::from_millis(800);
/// Bytes that may wait, besides the bound on records.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// An encoded record on its way to the disk.
pub(crate) struct Job {
    pub(crate) id: RecordId,
    pub(crate) policy: Digest,
    pub(crate) body: EncodedRecord,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// Somebody waits for it.
    Durable(Completion),
    /// The signer's checkpoint, with the fold that it confirms.
    Checkpoint(Box<Fold>, Completion),
    /// Nobody waits; it stands for so many events.
    Relaxed(u32),
}

impl Job {
    pub(crate) fn new(record: &Record, kind: Kind) -> Result<Self, (AuditError, Kind)> {
        match EncodedRecord::new(record) {
            Ok(body) => Ok(Self {
                id: record.id,
                policy: record.policy,
                body,
                kind,
            }),
            Err(e) => Err((e.into(), kind)),
        }
    }
}

/// What else the thread can be told.
pub(crate) enum Order {
    /// Put everything on disk now.
    Flush(SyncSender<Result<(), AuditError>>),
    /// Begin a new file.
    Rotate(SyncSender<Result<PathBuf, OpenError>>),
}

/// What the thread takes at once.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) jobs: Vec<Job>,
    /// Merged records, each with the number of events it stands for; still to be encoded.
    pub(crate) merged: Vec<(Record, u32)>,
    pub(crate) orders: Vec<Order>,
    /// Events lost so far and not yet recorded as lost.
    pub(crate) lost: u64,
    /// A check whether the file is still at its path was requested.
    pub(crate) look: bool,
    pub(crate) closing: bool,
}

pub(crate) struct Queue {
    limit: usize,
    jobs: Vec<Job>,
    durable: usize,
    bytes: usize,
    merged: HashMap<u64, Merged>,
    /// About what the merged ones take.
    merged_bytes: usize,
    hasher: RandomState,
    deadline: Option<Instant>,
    lost: u64,
    orders: Vec<Order>,
    look: bool,
    closing: bool,
    closed: bool,
    /// The thread waits and has not been woken: waking it costs a system call, so it is done once.
    sleeping: bool,
    pub(crate) failure: Option<Failure>,
    /// The last failure, resolved or not.
    pub(crate) last_failure: Option<Failure>,
}

struct Merged {
    record: Record,
    count: u32,
}

/// What became of a record that may be one of many alike.
#[expect(clippy::large_enum_variant, reason = "it lives for one call")]
pub(crate) enum Merge {
    /// It was taken; the thread may have to be woken.
    Taken { wake: bool },
    /// Its likeness has the hash of another one's.
    Differs(Record),
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            jobs: Vec::new(),
            durable: 0,
            bytes: 0,
            merged: HashMap::new(),
            merged_bytes: 0,
            hasher: RandomState::new(),
            deadline: None,
            lost: 0,
            orders: Vec::new(),
            look: false,
            closing: false,
            closed: false,
            sleeping: false,
            failure: None,
            last_failure: None,
        }
    }

    /// Takes a record somebody waits for, or gives it back with the reason. Says whether the thread has
    /// to be woken.
    #[expect(
        clippy::result_large_err,
        reason = "the job goes back to its owner, unallocated"
    )]
    pub(crate) fn push_durable(&mut self, job: Job) -> Result<bool, (AuditError, Job)> {
        if self.closing || self.closed {
            return Err((AuditError::Closed, job));
        }
        if self.durable >= self.limit || self.bytes + job.body.as_bytes().len() > 2 * MAX_BYTES {
            return Err((AuditError::Busy, job));
        }
        self.durable += 1;
        self.bytes += job.body.as_bytes().len();
        self.jobs.push(job);
        Ok(std::mem::take(&mut self.sleeping))
    }

    /// Takes a record nobody waits for. Says whether the thread has to be woken.
    pub(crate) fn push_relaxed(&mut self, job: Job, now: Instant) -> Result<bool, AuditError> {
        self.admit_relaxed(1)?;
        self.bytes += job.body.as_bytes().len();
        self.jobs.push(job);
        Ok(self.due_in_time(now))
    }

    /// A thread that sleeps until a deadline need not learn of what is due after it.
    fn due_in_time(&mut self, now: Instant) -> bool {
        if self.deadline.is_some() {
            return false;
        }
        self.deadline = Some(now + RELAXED_DELAY);
        std::mem::take(&mut self.sleeping)
    }

    /// Takes a record that may be one of many alike; gives it back if it only resembles another one.
    pub(crate) fn merge(&mut self, record: Record, now: Instant) -> Result<Merge, AuditError> {
        let events = record.count.unwrap_or(1);
        let key = self.hasher.hash_one(likeness(&record));
        if let Some(merged) = self.merged.get_mut(&key) {
            if likeness(&merged.record) != likeness(&record) {
                return Ok(Merge::Differs(record));
            }
            merged.count = merged.count.saturating_add(events);
            return Ok(Merge::Taken { wake: false });
        }
        self.admit_relaxed(u64::from(events))?;
        self.merged_bytes += record.about_bytes();
        let count = events;
        self.merged.insert(key, Merged { record, count });
        let wake = self.due_in_time(now);
        Ok(Merge::Taken { wake })
    }

    fn admit_relaxed(&mut self, events: u64) -> Result<(), AuditError> {
        if self.closing || self.closed {
            return Err(AuditError::Closed);
        }
        let waiting = self.jobs.len() - self.durable + self.merged.len();
        if waiting >= self.limit || self.bytes + self.merged_bytes > MAX_BYTES {
            self.lost += events;
            return Err(AuditError::Busy);
        }
        Ok(())
    }

    pub(crate) fn order(&mut self, order: Order) -> Result<(), Order> {
        if self.closed {
            return Err(order);
        }
        self.orders.push(order);
        Ok(())
    }

    /// Requests a check whether the file is still at its path. Returns whether the thread must be woken: a pending
    /// record is checked when it is written.
    pub(crate) fn look(&mut self) -> bool {
        if self.deadline.is_some() {
            return false;
        }
        self.look = true;
        std::mem::take(&mut self.sleeping)
    }

    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// How long the thread may sleep: not at all, for a while, or until it is woken.
    pub(crate) fn idle_for(&mut self, now: Instant) -> Option<Option<Duration>> {
        if self.durable > 0 || !self.orders.is_empty() || self.look || self.closing {
            return None;
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return None;
        }
        self.sleeping = true;
        Some(self.deadline.map(|deadline| deadline - now))
    }

    /// Gives the thread all that is due. `work` comes back with its old buffers, empty.
    pub(crate) fn take(&mut self, work: &mut Work, now: Instant) {
        std::mem::swap(&mut self.jobs, &mut work.jobs);
        std::mem::swap(&mut self.orders, &mut work.orders);
        (self.durable, self.bytes) = (0, 0);
        self.sleeping = false;
        work.look = std::mem::take(&mut self.look);
        work.closing = self.closing;
        if self.deadline.is_some_and(|deadline| deadline <= now)
            || !work.orders.is_empty()
            || self.closing
        {
            let merged = self.merged.drain().map(|(_, merged)| merged);
            work.merged
                .extend(merged.map(|Merged { record, count }| (record, count)));
        }
        if self.merged.is_empty() {
            self.merged_bytes = 0;
            self.deadline = None;
            self.merged.shrink_to(64);
        }
        work.lost = self.lost;
    }

    /// After a failed write: what nobody waited for goes back to the front, as far as it fits.
    pub(crate) fn put_back(&mut self, kept: &mut Vec<Job>, retry: Instant) {
        for job in kept.drain(self.limit.min(kept.len())..) {
            if let Kind::Relaxed(count) = job.kind {
                self.lost += u64::from(count);
            }
        }
        self.bytes += kept
            .iter()
            .map(|job| job.body.as_bytes().len())
            .sum::<usize>();
        kept.append(&mut self.jobs);
        std::mem::swap(kept, &mut self.jobs);
        // Even if nothing waits: recovery must be recorded without a new action.
        self.deadline = Some(retry);
    }

    /// A record could not even be encoded.
    pub(crate) fn lose(&mut self, events: u32) {
        self.lost += u64::from(events);
    }

    /// So many lost events are in the log now, as lost.
    pub(crate) fn told_lost(&mut self, lost: u64) {
        self.lost -= lost;
    }

    /// The thread ends: nothing is taken any more. Gives what still waits.
    pub(crate) fn end(&mut self) -> (Vec<Job>, Vec<Order>) {
        self.closed = true;
        self.merged.clear();
        (
            std::mem::take(&mut self.jobs),
            std::mem::take(&mut self.orders),
        )
    }
}

/// By what two records count as the same.
fn likeness(record: &Record) -> impl std::hash::Hash + PartialEq + '_ {
    (
        (record.event, record.severity, record.policy),
        (&record.agent, record.task),
        (&record.action, &record.decision),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::record::{ActionInfo, ActionKind};

    #[test]
    fn records_that_all_differ_wait_within_the_bound_on_bytes() {
        let (mut queue, now) = (Queue::new(100_000), Instant::now());
        let long = "x".repeat(3000);
        let differing = |queue: &mut Queue| {
            for n in 0..100_000_usize {
                let (id, time) = (RecordId::from_bits(1), crate::clock::now());
                let mut record = Record::new(id, time, Event::ExecAttempt, Digest::ZERO);
                let mut action = ActionInfo::new(ActionKind::Exec);
                action.command = Some(format!("{n} {long}").into());
                record.action = Some(action);
                if queue.merge(record, now).is_err() {
                    return n;
                }
            }
            100_000
        };
        let most = differing(&mut queue);
        assert!(most * long.len() <= 2 * MAX_BYTES, "{most}");
        // What was taken makes room, and not before it was.
        let mut work = Work::default();
        queue.take(&mut work, now);
        assert_eq!((work.merged.len(), differing(&mut queue)), (0, most));
        queue.take(&mut work, now + RELAXED_DELAY);
        assert_eq!((work.merged.len(), differing(&mut queue)), (most, most));
    }
}
