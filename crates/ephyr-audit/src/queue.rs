//! The queue of the writer's thread: bounded, with repeated records merged.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use ephyr_chain::{EncodedRecord, Fold};
use ephyr_names::{Digest, RecordId};

use crate::appended::Completion;
use crate::error::{AuditError, Failure, OpenError};
use crate::record::Record;

/// Maximum delay of a record without a waiting caller, so that it is on disk within a second.
pub(crate) const RELAXED_DELAY: Duration = Duration::from_millis(800);
/// Maximum number of bytes in the queue; the number of records is bounded too.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// An encoded record on its way to the disk.
pub(crate) struct PendingRecord {
    pub(crate) id: RecordId,
    pub(crate) policy: Digest,
    pub(crate) encoded: EncodedRecord,
    pub(crate) delivery: Delivery,
}

/// How the result of writing a record is delivered.
pub(crate) enum Delivery {
    /// A caller waits for it.
    Durable(Completion),
    /// A caller waits; the record is the signer's checkpoint, with the fold that it confirms.
    Checkpoint(Box<Fold>, Completion),
    /// No caller waits; the record stands for this many events.
    Relaxed(u32),
}

impl PendingRecord {
    /// Encodes a record.
    ///
    /// # Errors
    /// The record cannot be encoded. The delivery is returned, so that its caller can be notified.
    pub(crate) fn new(record: &Record, delivery: Delivery) -> Result<Self, (AuditError, Delivery)> {
        match EncodedRecord::new(record) {
            Ok(encoded) => Ok(Self {
                id: record.id,
                policy: record.policy,
                encoded,
                delivery,
            }),
            Err(e) => Err((e.into(), delivery)),
        }
    }

    pub(crate) fn is_relaxed(&self) -> bool {
        matches!(self.delivery, Delivery::Relaxed(_))
    }

    fn bytes(&self) -> usize {
        self.encoded.as_bytes().len()
    }
}

impl Delivery {
    /// Reports to a waiting caller that the record is not in the log.
    pub(crate) fn fail(self, error: AuditError) {
        match self {
            Self::Durable(done) | Self::Checkpoint(_, done) => done(Err(error)),
            Self::Relaxed(_) => {}
        }
    }
}

/// A request to the writer's thread other than a record, with the channel for its result.
pub(crate) enum Control {
    /// Write everything to disk now.
    Flush(SyncSender<Result<(), AuditError>>),
    /// Begin a new file.
    Rotate(SyncSender<Result<PathBuf, OpenError>>),
}

/// The content of the queue, taken by the thread at once.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<PendingRecord>,
    /// Merged records, not yet encoded, each with the number of events it stands for.
    pub(crate) merged: Vec<(Record, u32)>,
    pub(crate) controls: Vec<Control>,
    /// Number of events lost so far and not yet recorded as lost.
    pub(crate) lost: u64,
    /// Whether to check that the file is still at its path.
    pub(crate) check_place: bool,
    pub(crate) closing: bool,
}

pub(crate) struct Queue {
    limit: usize,
    records: Vec<PendingRecord>,
    /// Number of records that a caller waits for.
    durable: usize,
    bytes: usize,
    merged: HashMap<u64, MergedRecord>,
    /// Approximate size of the merged records.
    merged_bytes: usize,
    hasher: RandomState,
    deadline: Option<Instant>,
    lost: u64,
    controls: Vec<Control>,
    check_place: bool,
    closing: bool,
    closed: bool,
    /// The thread waits and has not been woken. Waking it costs a system call, so it is done once.
    sleeping: bool,
    pub(crate) failure: Option<Failure>,
    /// The last failure, resolved or not.
    pub(crate) last_failure: Option<Failure>,
}

struct MergedRecord {
    record: Record,
    count: u32,
}

/// The result of merging a record into equal ones.
#[expect(clippy::large_enum_variant, reason = "it lives for one call")]
pub(crate) enum MergeOutcome {
    /// The record is in the queue; `wake` says whether the thread must be woken.
    Queued { wake: bool },
    /// A different record has the same hash; the record is returned.
    HashCollision(Record),
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            records: Vec::new(),
            durable: 0,
            bytes: 0,
            merged: HashMap::new(),
            merged_bytes: 0,
            hasher: RandomState::new(),
            deadline: None,
            lost: 0,
            controls: Vec::new(),
            check_place: false,
            closing: false,
            closed: false,
            sleeping: false,
            failure: None,
            last_failure: None,
        }
    }

    /// Queues a record that a caller waits for, or returns it with the reason. Returns whether the thread must be woken.
    #[expect(
        clippy::result_large_err,
        reason = "the record is returned without an allocation"
    )]
    pub(crate) fn push_durable(
        &mut self,
        record: PendingRecord,
    ) -> Result<bool, (AuditError, PendingRecord)> {
        if self.closing || self.closed {
            return Err((AuditError::Closed, record));
        }
        if self.durable >= self.limit || self.bytes + record.bytes() > 2 * MAX_BYTES {
            return Err((AuditError::Busy, record));
        }
        self.durable += 1;
        self.bytes += record.bytes();
        self.records.push(record);
        Ok(std::mem::take(&mut self.sleeping))
    }

    /// Queues a record without a waiting caller. Returns whether the thread must be woken.
    pub(crate) fn push_relaxed(
        &mut self,
        record: PendingRecord,
        now: Instant,
    ) -> Result<bool, AuditError> {
        self.admit_relaxed(1)?;
        self.bytes += record.bytes();
        self.records.push(record);
        Ok(self.due_in_time(now))
    }

    /// Sets the deadline for relaxed records. A thread that already sleeps until an earlier deadline need not be woken.
    fn due_in_time(&mut self, now: Instant) -> bool {
        if self.deadline.is_some() {
            return false;
        }
        self.deadline = Some(now + RELAXED_DELAY);
        std::mem::take(&mut self.sleeping)
    }

    /// Queues a record that may repeat an earlier one, and counts repetitions.
    pub(crate) fn merge(
        &mut self,
        record: Record,
        now: Instant,
    ) -> Result<MergeOutcome, AuditError> {
        let events = record.count.unwrap_or(1);
        let key = self.hasher.hash_one(merge_key(&record));
        if let Some(merged) = self.merged.get_mut(&key) {
            if merge_key(&merged.record) != merge_key(&record) {
                return Ok(MergeOutcome::HashCollision(record));
            }
            merged.count = merged.count.saturating_add(events);
            return Ok(MergeOutcome::Queued { wake: false });
        }
        self.admit_relaxed(u64::from(events))?;
        self.merged_bytes += record.about_bytes();
        let count = events;
        self.merged.insert(key, MergedRecord { record, count });
        let wake = self.due_in_time(now);
        Ok(MergeOutcome::Queued { wake })
    }

    fn admit_relaxed(&mut self, events: u64) -> Result<(), AuditError> {
        if self.closing || self.closed {
            return Err(AuditError::Closed);
        }
        let waiting = self.records.len() - self.durable + self.merged.len();
        if waiting >= self.limit || self.bytes + self.merged_bytes > MAX_BYTES {
            self.lost += events;
            return Err(AuditError::Busy);
        }
        Ok(())
    }

    pub(crate) fn control(&mut self, control: Control) -> Result<(), Control> {
        if self.closed {
            return Err(control);
        }
        self.controls.push(control);
        Ok(())
    }

    /// Requests a check whether the file is still at its path. Returns whether the thread must be woken: a pending
    /// record is checked when it is written.
    pub(crate) fn check_place(&mut self) -> bool {
        if self.deadline.is_some() {
            return false;
        }
        self.check_place = true;
        std::mem::take(&mut self.sleeping)
    }

    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Returns how long the thread may sleep: `None` not at all, `Some(None)` until it is woken.
    pub(crate) fn idle_for(&mut self, now: Instant) -> Option<Option<Duration>> {
        if self.durable > 0 || !self.controls.is_empty() || self.check_place || self.closing {
            return None;
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return None;
        }
        self.sleeping = true;
        Some(self.deadline.map(|deadline| deadline - now))
    }

    /// Moves everything that is due into `batch`, whose buffers are empty and are reused.
    pub(crate) fn take(&mut self, batch: &mut Batch, now: Instant) {
        std::mem::swap(&mut self.records, &mut batch.records);
        std::mem::swap(&mut self.controls, &mut batch.controls);
        (self.durable, self.bytes) = (0, 0);
        self.sleeping = false;
        batch.check_place = std::mem::take(&mut self.check_place);
        batch.closing = self.closing;
        if self.deadline.is_some_and(|deadline| deadline <= now)
            || !batch.controls.is_empty()
            || self.closing
        {
            let merged = self.merged.drain().map(|(_, merged)| merged);
            batch
                .merged
                .extend(merged.map(|MergedRecord { record, count }| (record, count)));
        }
        if self.merged.is_empty() {
            self.merged_bytes = 0;
            self.deadline = None;
            self.merged.shrink_to(64);
        }
        batch.lost = self.lost;
    }

    /// Returns as many relaxed records as fit to the front of the queue after a failed write.
    pub(crate) fn put_back(&mut self, kept: &mut Vec<PendingRecord>, retry: Instant) {
        for record in kept.drain(self.limit.min(kept.len())..) {
            if let Delivery::Relaxed(count) = record.delivery {
                self.lost += u64::from(count);
            }
        }
        self.bytes += kept.iter().map(PendingRecord::bytes).sum::<usize>();
        kept.append(&mut self.records);
        std::mem::swap(kept, &mut self.records);
        // Set even if the queue is empty: the recovery must be recorded without waiting for a new action.
        self.deadline = Some(retry);
    }

    /// Counts the events of a record that could not be encoded.
    pub(crate) fn lose(&mut self, events: u32) {
        self.lost += u64::from(events);
    }

    /// Subtracts lost events that are now recorded in the log.
    pub(crate) fn lost_recorded(&mut self, lost: u64) {
        self.lost -= lost;
    }

    /// Closes the queue when the thread ends. Returns everything that was still queued.
    pub(crate) fn end(&mut self) -> (Vec<PendingRecord>, Vec<Control>) {
        self.closed = true;
        self.merged.clear();
        (
            std::mem::take(&mut self.records),
            std::mem::take(&mut self.controls),
        )
    }
}

/// Returns the fields by which two records count as equal.
fn merge_key(record: &Record) -> impl std::hash::Hash + PartialEq + '_ {
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
    fn distinct_merged_records_stay_within_the_byte_limit() {
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
        // Space is free again only after the records were taken.
        let mut batch = Batch::default();
        queue.take(&mut batch, now);
        assert_eq!((batch.merged.len(), differing(&mut queue)), (0, most));
        queue.take(&mut batch, now + RELAXED_DELAY);
        assert_eq!((batch.merged.len(), differing(&mut queue)), (most, most));
    }
}
