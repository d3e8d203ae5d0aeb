//! The writer's thread: takes the queued records, writes them as one batch, and completes the callers. After a failed
//! write it keeps relaxed records, retries, and records how many events were lost meanwhile.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ephyr_chain::ChainWriteError;
use ephyr_names::Digest;

use crate::appended::Appended;
use crate::clock;
use crate::continuing::not_continued;
use crate::error::{AuditError, Failure, OpenError};
use crate::event::Event;
use crate::open_log::{OpenLog, own_record};
use crate::queue::{Batch, Control, Delivery, PendingRecord};
use crate::shared::{Shared, lock};

/// Time after a failed write until the thread retries by itself.
const RETRY: Duration = Duration::from_secs(1);
/// Number of relaxed records written at once after a failure.
const PORTION: usize = 64;

pub(crate) struct Worker {
    shared: Arc<Shared>,
    log: OpenLog,
    policy: Digest,
    rotate_at: Option<u64>,
    /// No rotation before the file has this length; grows when one fails.
    rotate_from: u64,
    failure: Option<Failure>,
    batch: Batch,
    /// After a failure: relaxed records that are written after the durable ones.
    rest: VecDeque<PendingRecord>,
    /// Hashes of the staged records.
    hashes: Vec<Digest>,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: OpenLog,
        policy: Digest,
        rotate_at: Option<u64>,
    ) -> Self {
        Self {
            shared,
            log,
            policy,
            rotate_at,
            rotate_from: 0,
            failure: None,
            batch: Batch::default(),
            rest: VecDeque::new(),
            hashes: Vec::new(),
        }
    }

    pub(crate) fn run(mut self) {
        loop {
            self.wait();
            self.encode_merged();
            let written = self.commit();
            for control in std::mem::take(&mut self.batch.controls) {
                match control {
                    // The receiver may be gone.
                    Control::Flush(reply) => drop(reply.send(written.clone())),
                    Control::Rotate(reply) => drop(reply.send(self.rotate())),
                }
            }
            if std::mem::take(&mut self.batch.check_place) {
                self.check_place();
            }
            self.rotate_when_due();
            if self.batch.closing {
                return;
            }
        }
    }

    /// Sleeps until records are due, and takes them from the queue.
    fn wait(&mut self) {
        let mut queue = lock(&self.shared.queue);
        loop {
            let now = Instant::now();
            queue = match queue.idle_for(now) {
                None => {
                    queue.take(&mut self.batch, now);
                    return;
                }
                Some(None) => self
                    .shared
                    .wake
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Some(time)) => {
                    self.shared
                        .wake
                        .wait_timeout(queue, time)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    /// Encodes merged records without the queue's lock, which every append needs.
    fn encode_merged(&mut self) {
        for (mut record, count) in self.batch.merged.drain(..) {
            record.count = (count > 1).then_some(count);
            match PendingRecord::new(&record, Delivery::Relaxed(count)) {
                Ok(record) => self.batch.records.push(record),
                Err(_) => lock(&self.shared.queue).lose(count),
            }
        }
        self.batch.merged.shrink_to(64);
    }

    /// Writes the batch. After a failure the disk may have little room, so records with a waiting caller are written
    /// first, then the others in small portions.
    fn commit(&mut self) -> Result<(), AuditError> {
        let Some(failure) = &self.failure else {
            return self.commit_batch();
        };
        if failure.error.displaced().is_some()
            && let Err(error) = self.return_to_path()
        {
            self.failed(&error);
            return Err(error);
        }
        let (rest, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.batch.records)
            .into_iter()
            .partition(PendingRecord::is_relaxed);
        (self.rest, self.batch.records) = (rest.into(), waiting);
        self.commit_batch()?;
        while !self.rest.is_empty() {
            let portion = self.rest.len().min(PORTION);
            self.batch.records.extend(self.rest.drain(..portion));
            self.commit_batch()?;
        }
        Ok(())
    }

    fn commit_batch(&mut self) -> Result<(), AuditError> {
        if let Some(record) = self.batch.records.last() {
            self.policy = record.policy;
        }
        let recorded_lost = self.stage_recovery();
        let staged_own = !self.hashes.is_empty();
        for record in &self.batch.records {
            self.hashes
                .push(self.log.chain.append_encoded(&record.encoded));
        }
        let result = self.log.chain.sync().map_err(AuditError::from);
        match &result {
            Ok(()) => self.written(staged_own, recorded_lost),
            Err(error) => self.failed(error),
        }
        self.hashes.clear();
        self.batch.records.shrink_to(1024);
        result
    }

    /// Stages the record of lost events or of a recovery, before all other records. Returns the number of lost events in
    /// it.
    fn stage_recovery(&mut self) -> u64 {
        let lost = self.batch.lost;
        if lost == 0 && self.failure.is_none() {
            return 0;
        }
        let event = if lost > 0 {
            Event::AuditGap
        } else {
            Event::AuditRecovered
        };
        let mut record = own_record(event, self.policy).with_detail("lost", lost.to_string());
        if let Some(failure) = &self.failure {
            record = record
                .with_detail("failing_since", failure.since.to_string())
                .with_detail("error", failure.error.to_string());
        }
        match self.log.chain.append(&record) {
            Ok(hash) => self.hashes.push(hash),
            // Its few bounded fields always fit a line; otherwise the next batch stages it again.
            Err(_) => return 0,
        }
        lost
    }

    /// Completes the callers after the batch was written.
    fn written(&mut self, staged_own: bool, recorded_lost: u64) {
        let own = usize::from(staged_own);
        {
            let mut progress = lock(&self.shared.progress);
            for (at, hash) in self.hashes.iter().enumerate() {
                let record = at
                    .checked_sub(own)
                    .and_then(|at| self.batch.records.get(at));
                let is_checkpoint =
                    record.is_some_and(|it| matches!(it.delivery, Delivery::Checkpoint(..)));
                self.log.fold.push(*hash);
                progress.written(*hash, is_checkpoint);
            }
        }
        if staged_own {
            self.failure = None;
            self.batch.lost = 0;
            let mut queue = lock(&self.shared.queue);
            queue.failure = None;
            queue.lost_recorded(recorded_lost);
        }
        for (record, hash) in self.batch.records.drain(..).zip(&self.hashes[own..]) {
            let appended = Appended {
                id: record.id,
                hash: *hash,
            };
            let done = match record.delivery {
                Delivery::Relaxed(_) => continue,
                Delivery::Durable(done) => done,
                Delivery::Checkpoint(fold, done) => {
                    lock(&self.shared.progress).set_signed(*fold);
                    done
                }
            };
            // A panic in one caller's completion must not end the thread that writes all records.
            let _ = catch_unwind(AssertUnwindSafe(|| done(Ok(appended))));
        }
    }

    /// Handles a failed write: nothing of the batch is on disk.
    fn failed(&mut self, error: &AuditError) {
        let since = self
            .failure
            .as_ref()
            .map_or_else(clock::now, |failure| failure.since);
        let failure = Failure {
            since,
            error: error.clone(),
        };
        self.failure = Some(failure.clone());
        let (mut kept, waiting): (Vec<_>, Vec<_>) = self
            .batch
            .records
            .drain(..)
            .partition(PendingRecord::is_relaxed);
        kept.extend(self.rest.drain(..));
        {
            let mut queue = lock(&self.shared.queue);
            queue.last_failure = Some(failure.clone());
            queue.failure = Some(failure);
            queue.put_back(&mut kept, Instant::now() + RETRY);
        }
        for PendingRecord { delivery, .. } in waiting {
            let _ = catch_unwind(AssertUnwindSafe(|| delivery.fail(error.clone())));
        }
    }

    fn rotate_when_due(&mut self) {
        const AGAIN: u64 = 1024 * 1024;
        let length = self.log.chain.length();
        if self
            .rotate_at
            .is_some_and(|at| length >= at.max(self.rotate_from))
            && self.rotate().is_err()
        {
            // The log continues in its file; a full disk is reported with the next record.
            self.rotate_from = length + AGAIN;
        }
    }

    fn rotate(&mut self) -> Result<PathBuf, OpenError> {
        let old = self.log.rotate(&self.shared, self.policy)?;
        self.rotate_from = 0;
        Ok(old)
    }

    /// Checks that the file of an idle log is still at its path.
    fn check_place(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.log.chain.check_place()
        {
            self.failed(&error.into());
        }
    }

    /// Continues a log whose file was removed, renamed or replaced; does nothing if the file is back at its path.
    fn return_to_path(&mut self) -> Result<(), AuditError> {
        let how = match self.log.chain.check_place() {
            Ok(()) => return Ok(()),
            Err(ChainWriteError::Displaced { how, .. }) => how,
            Err(other) => return Err(other.into()),
        };
        let continued = self.log.continue_elsewhere(&self.shared, self.policy, how);
        continued.map_err(|why| not_continued(&self.shared.path, how, &why))
    }
}

/// Completes all waiting callers when the thread ends, even by a panic.
impl Drop for Worker {
    fn drop(&mut self) {
        let (records, controls) = lock(&self.shared.queue).end();
        // Dropping the controls closes their channels.
        drop(controls);
        for record in self.batch.records.drain(..).chain(records) {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                record.delivery.fail(AuditError::Closed);
            }));
        }
    }
}
