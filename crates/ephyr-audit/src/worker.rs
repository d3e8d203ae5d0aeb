//! The writer's thread: takes what has gathered, writes it as one batch, tells those who wait. After a
//! failure it keeps what nobody waited for, tries again, and records what was lost meanwhile.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ephyr_chain::ChainWriteError;
use ephyr_names::Digest;

use crate::clock;
use crate::continued::not_continued;
use crate::error::{AuditError, Failure, OpenError};
use crate::event::Event;
use crate::queue::{Job, Kind, Order, Work};
use crate::start::OpenLog;
use crate::writer::{Appended, Shared, WriterOptions, lock, own_record, refuse};

/// How long after a failure the thread tries again by itself.
const RETRY: Duration = Duration::from_secs(1);
/// Records in a portion of what waited during a failure.
const PORTION: usize = 64;

pub(crate) struct Worker {
    shared: Arc<Shared>,
    log: OpenLog,
    policy: Digest,
    rotate_at: Option<u64>,
    /// No rotation before the file has this length; grows when one fails.
    rotate_from: u64,
    failure: Option<Failure>,
    work: Work,
    /// After a failure: what nobody waits for, until its turn comes.
    rest: VecDeque<Job>,
    hashes: Vec<Digest>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, log: OpenLog, options: &WriterOptions) -> Self {
        Self {
            shared,
            log,
            policy: options.policy,
            rotate_at: options.rotate_at,
            rotate_from: 0,
            failure: None,
            work: Work::default(),
            rest: VecDeque::new(),
            hashes: Vec::new(),
        }
    }

    pub(crate) fn run(mut self) {
        loop {
            self.wait();
            self.encode_merged();
            let written = self.commit();
            for order in std::mem::take(&mut self.work.orders) {
                match order {
                    // Whoever asked may have gone.
                    Order::Flush(tell) => drop(tell.send(written.clone())),
                    Order::Rotate(tell) => drop(tell.send(self.rotate())),
                }
            }
            if std::mem::take(&mut self.work.look) {
                self.look();
            }
            self.rotate_when_due();
            if self.work.closing {
                return;
            }
        }
    }

    /// Sleeps until there is something to do, and takes it.
    fn wait(&mut self) {
        let mut queue = lock(&self.shared.queue);
        loop {
            let now = Instant::now();
            queue = match queue.idle_for(now) {
                None => {
                    queue.take(&mut self.work, now);
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

    /// Outside the queue's lock, under which everybody appends.
    fn encode_merged(&mut self) {
        for (mut record, count) in self.work.merged.drain(..) {
            record.count = (count > 1).then_some(count);
            match Job::new(&record, Kind::Relaxed(count)) {
                Ok(job) => self.work.jobs.push(job),
                Err(_) => lock(&self.shared.queue).lose(count),
            }
        }
        self.work.merged.shrink_to(64);
    }

    /// Puts on disk what was taken. After a failure the disk may have room for little: those who wait
    /// come first, then the others in small portions.
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
        let (rest, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.work.jobs)
            .into_iter()
            .partition(|job| matches!(job.kind, Kind::Relaxed(_)));
        (self.rest, self.work.jobs) = (rest.into(), waiting);
        self.commit_batch()?;
        while !self.rest.is_empty() {
            let portion = self.rest.len().min(PORTION);
            self.work.jobs.extend(self.rest.drain(..portion));
            self.commit_batch()?;
        }
        Ok(())
    }

    fn commit_batch(&mut self) -> Result<(), AuditError> {
        if let Some(job) = self.work.jobs.last() {
            self.policy = job.policy;
        }
        let told = self.stage_recovery();
        let staged_own = !self.hashes.is_empty();
        for job in &self.work.jobs {
            self.hashes.push(self.log.chain.append_encoded(&job.body));
        }
        let result = self.log.chain.sync().map_err(AuditError::from);
        match &result {
            Ok(()) => self.written(staged_own, told),
            Err(error) => self.failed(error),
        }
        self.hashes.clear();
        self.work.jobs.shrink_to(1024);
        result
    }

    /// Where records were lost or writing had failed, that is told before anything else. Gives how many
    /// lost events the staged record tells of.
    fn stage_recovery(&mut self) -> u64 {
        let lost = self.work.lost;
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
            // Its few bounded fields always make a line; it is told with the next batch otherwise.
            Err(_) => return 0,
        }
        lost
    }

    /// The batch is on disk.
    fn written(&mut self, staged_own: bool, told: u64) {
        let own = usize::from(staged_own);
        {
            let mut ledger = lock(&self.shared.ledger);
            for (at, hash) in self.hashes.iter().enumerate() {
                let job = at.checked_sub(own).and_then(|at| self.work.jobs.get(at));
                let is_checkpoint = job.is_some_and(|job| matches!(job.kind, Kind::Checkpoint(..)));
                self.log.fold.push(*hash);
                ledger.written(*hash, is_checkpoint);
            }
        }
        if staged_own {
            self.failure = None;
            self.work.lost = 0;
            let mut queue = lock(&self.shared.queue);
            queue.failure = None;
            queue.told_lost(told);
        }
        for (job, hash) in self.work.jobs.drain(..).zip(&self.hashes[own..]) {
            let appended = Appended {
                id: job.id,
                hash: *hash,
            };
            let done = match job.kind {
                Kind::Relaxed(_) => continue,
                Kind::Durable(done) => done,
                Kind::Checkpoint(fold, done) => {
                    lock(&self.shared.ledger).set_signed(*fold);
                    done
                }
            };
            // A caller's panic must not end the thread that everybody's records depend on.
            let _ = catch_unwind(AssertUnwindSafe(|| done(Ok(appended))));
        }
    }

    /// Nothing of the batch is on disk.
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
            .work
            .jobs
            .drain(..)
            .partition(|job| matches!(job.kind, Kind::Relaxed(_)));
        kept.extend(self.rest.drain(..));
        {
            let mut queue = lock(&self.shared.queue);
            queue.last_failure = Some(failure.clone());
            queue.failure = Some(failure);
            queue.put_back(&mut kept, Instant::now() + RETRY);
        }
        for Job { kind, .. } in waiting {
            let _ = catch_unwind(AssertUnwindSafe(|| refuse(kind, error.clone())));
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
            // The log goes on in its file; a full disk shows with the next record.
            self.rotate_from = length + AGAIN;
        }
    }

    fn rotate(&mut self) -> Result<PathBuf, OpenError> {
        let old = self.log.rotate(&self.shared, self.policy)?;
        self.rotate_from = 0;
        Ok(old)
    }

    /// Checks that the file is still at its path when nothing was written for a while.
    fn look(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.log.chain.check_place()
        {
            self.failed(&error.into());
        }
    }

    /// Continues a log whose file was taken away; does nothing if the file was put back.
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

/// However the thread ends, nobody waits for ever.
impl Drop for Worker {
    fn drop(&mut self) {
        let (jobs, orders) = lock(&self.shared.queue).end();
        // Their channels close with them.
        drop(orders);
        for job in self.work.jobs.drain(..).chain(jobs) {
            let _ = catch_unwind(AssertUnwindSafe(|| refuse(job.kind, AuditError::Closed)));
        }
    }
}
