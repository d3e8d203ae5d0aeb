//! The writer of an audit log. Appending never blocks: records are queued for one thread, which writes all queued
//! records with one write and one fdatasync and then completes the callers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use ephyr_chain::{Checkpoint, Fold, Torn};
use ephyr_names::{Digest, Timestamp};

use crate::appended::{Appended, Completion};
use crate::clock::new_record_id;
use crate::error::{AuditError, CheckpointFault, Failure, OpenError};
use crate::event::Event;
use crate::files;
use crate::opening;
use crate::progress::{Position, Unsigned, WINDOW};
use crate::queue::{Control, Delivery, MergeOutcome, PendingRecord};
use crate::record::Record;
use crate::shared::{Shared, lock};
use crate::worker::Worker;

/// Options of a writer.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// SHA-256 of the policy in force, for the records that the log writes about itself until another record names a
    /// newer policy.
    pub policy: Digest,
    /// File length in bytes at which a new file is begun.
    pub rotate_at: Option<u64>,
    /// Maximum number of queued records with a waiting caller, and of queued records without one.
    pub queue: usize,
}

impl WriterOptions {
    /// Returns the defaults: files of 64 MiB (each start reads one completely) and 8192 records in the queue.
    #[must_use]
    pub fn new(policy: Digest) -> Self {
        Self {
            policy,
            rotate_at: Some(64 * 1024 * 1024),
            queue: 8192,
        }
    }
}

/// The state in which a log was opened.
#[derive(Debug)]
pub struct OpenReport {
    /// Whether it is new.
    pub created: bool,
    /// Its length and how far it is countersigned.
    pub position: Position,
    /// The incomplete last line that was moved aside, if there was one.
    pub torn: Option<Torn>,
}

/// Writes one audit log. Clones share it; dropping the last one writes the queued records.
#[derive(Clone)]
pub struct Writer {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Opens the log at `path` or begins a new one, and verifies the chain of its current file.
    ///
    /// # Errors
    /// [`OpenError`]; the daemon must not start then.
    pub fn open(path: &Path, options: &WriterOptions) -> Result<(Self, OpenReport), OpenError> {
        let opened = opening::open(path, options.policy)?;
        let report = OpenReport {
            created: opened.created,
            position: opened.progress.position(),
            torn: opened.torn,
        };
        let shared = Arc::new(Shared::new(path.into(), options.queue, opened.progress));
        let worker = Worker::new(
            Arc::clone(&shared),
            opened.log,
            options.policy,
            options.rotate_at,
        );
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || worker.run())
            .map_err(OpenError::io("start the writer's thread of", path))?;
        let inner = Arc::new(Inner {
            shared,
            thread: Mutex::new(Some(thread)),
        });
        Ok((Self { inner }, report))
    }

    /// Appends a record and calls `done` when it is on disk or cannot be written. While writing fails, every call retries.
    /// If the queue is full, `done` gets [`AuditError::Busy`] at once, and the caller should reject the request.
    pub fn append_durable(&self, record: &Record, done: Completion) {
        match PendingRecord::new(record, Delivery::Durable(done)) {
            Ok(record) => self.push_durable(record),
            Err((error, delivery)) => delivery.fail(error),
        }
    }

    pub(crate) fn push_durable(&self, record: PendingRecord) {
        // The queue's lock is released before a completion runs.
        let pushed = lock(&self.inner.shared.queue).push_durable(record);
        match pushed {
            Ok(wake) => self.wake_if(wake),
            Err((error, record)) => record.delivery.fail(error),
        }
    }

    /// Appends a record that no caller waits for; it is on disk within a second. Repeated reads, denials and failures
    /// become one record with a `count`.
    ///
    /// # Errors
    /// The queue is full, or the record cannot be encoded. Records that a full queue drops are counted, and the count is
    /// recorded as `audit_gap`.
    pub fn append(&self, record: Record) -> Result<(), AuditError> {
        let now = Instant::now();
        let mut record = record;
        if record.event.coalesces() {
            let merged = lock(&self.inner.shared.queue).merge(record, now)?;
            match merged {
                MergeOutcome::Queued { wake } => {
                    self.wake_if(wake);
                    return Ok(());
                }
                MergeOutcome::HashCollision(other) => record = other,
            }
        }
        let delivery = Delivery::Relaxed(record.count.unwrap_or(1));
        let pending = PendingRecord::new(&record, delivery).map_err(|(error, _)| error)?;
        let wake = lock(&self.inner.shared.queue).push_relaxed(pending, now)?;
        self.wake_if(wake);
        Ok(())
    }

    fn wake_if(&self, wake: bool) {
        if wake {
            self.inner.shared.wake.notify_one();
        }
    }

    /// Writes all records appended so far to disk. Blocks.
    ///
    /// # Errors
    /// A record is not on disk.
    pub fn flush(&self) -> Result<(), AuditError> {
        let (reply, answer) = sync_channel(1);
        self.control(Control::Flush(reply), &answer)
            .unwrap_or(Err(AuditError::Closed))
    }

    /// Begins a new file, which continues the log; returns the new name of the old file. Blocks.
    ///
    /// # Errors
    /// The rotation failed; the log continues in its file.
    pub fn rotate(&self) -> Result<PathBuf, OpenError> {
        let (reply, answer) = sync_channel(1);
        self.control(Control::Rotate(reply), &answer)
            .unwrap_or(Err(OpenError::Write(AuditError::Closed)))
    }

    fn control<T>(&self, control: Control, answer: &Receiver<T>) -> Option<T> {
        lock(&self.inner.shared.queue).control(control).ok()?;
        self.inner.shared.wake.notify_one();
        answer.recv().ok()
    }

    /// Writes all queued records and ends the thread; later appends get [`AuditError::Closed`]. Blocks.
    ///
    /// # Errors
    /// A record is not on disk.
    pub fn close(&self) -> Result<(), AuditError> {
        let flushed = self.flush();
        self.inner.end();
        flushed
    }

    /// Returns the current failure; `None` while the log can be written.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        lock(&self.inner.shared.queue).failure.clone()
    }

    /// Returns the last failure, even if the log can be written again.
    #[must_use]
    pub fn last_failure(&self) -> Option<Failure> {
        lock(&self.inner.shared.queue).last_failure.clone()
    }

    /// Requests a check that the file is still the one at its path, as before each write; a failure is reported by
    /// [`Writer::failure`]. For an idle log.
    pub fn look(&self) {
        let wake = lock(&self.inner.shared.queue).check_place();
        self.wake_if(wake);
    }

    /// Returns the log's length and how far it is countersigned.
    #[must_use]
    pub fn position(&self) -> Position {
        lock(&self.inner.shared.progress).position()
    }

    /// Returns hashes that the signer has not countersigned, at most `max`; `None` if only checkpoints were written since.
    /// Reads them from the log if there are too many for memory, so it may block.
    #[must_use]
    pub fn unsigned(&self, max: usize) -> Option<Unsigned> {
        self.unsigned_from(self.position().signed, max)
    }

    /// Returns the same from record `from` on, for a signer that is ahead of the last recorded checkpoint because a crash
    /// prevented recording one.
    #[must_use]
    pub fn unsigned_from(&self, from: u64, max: usize) -> Option<Unsigned> {
        let log = {
            let progress = lock(&self.inner.shared.progress);
            if max == 0 || !progress.has_unsigned(from) {
                return None;
            }
            progress.position().log
        };
        let hashes = self.hashes(from, max);
        (!hashes.is_empty()).then_some(Unsigned { log, from, hashes })
    }

    fn hashes(&self, from: u64, max: usize) -> Vec<Digest> {
        let durable = {
            let progress = lock(&self.inner.shared.progress);
            let hashes = progress.hashes(from, max);
            if !hashes.is_empty() {
                return hashes;
            }
            progress.position().count
        };
        // Reads without the lock, because the writer's thread needs it for every batch.
        let read = files::read_hashes(&self.inner.shared.path, from, durable, WINDOW);
        let read = read.unwrap_or_default();
        let hashes = read.iter().copied().take(max).collect();
        if !read.is_empty() {
            lock(&self.inner.shared.progress).refill(from, read);
        }
        hashes
    }

    /// Records the signer's checkpoint after comparing its head with the log's own records, and writes a copy to the
    /// checkpoint file beside the log, for shipping. `time` is the time of the record. Blocks.
    ///
    /// # Errors
    /// The checkpoint does not fit the log, or is not on disk.
    pub fn record_checkpoint(
        &self,
        checkpoint: &Checkpoint,
        time: Timestamp,
        policy: Digest,
    ) -> Result<Appended, AuditError> {
        let fold = self.fold_to(checkpoint).map_err(AuditError::Checkpoint)?;
        let mut record = Record::new(new_record_id(time), time, Event::Checkpoint, policy);
        record.checkpoint = Some(Box::new(checkpoint.clone()));
        let (done, result) = sync_channel(1);
        let done: Completion = Box::new(move |appended| {
            // The receiver lives until it has the result.
            let _ = done.send(appended);
        });
        let pending = PendingRecord::new(&record, Delivery::Checkpoint(Box::new(fold), done));
        self.push_durable(pending.map_err(|(error, _)| error)?);
        let appended = result.recv().unwrap_or(Err(AuditError::Closed))?;
        // An error is harmless: the log contains the checkpoint, and the next one replaces the file.
        let _ = self.write_checkpoint_file(checkpoint);
        Ok(appended)
    }

    /// Replaces the checkpoint file. Must not run on the writer's thread, for which all callers wait.
    fn write_checkpoint_file(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let shared = &self.inner.shared;
        let mut newest = lock(&shared.checkpoint_file_covers);
        if *newest < checkpoint.count {
            files::write_checkpoint_file(&shared.path, checkpoint)?;
            *newest = checkpoint.count;
        }
        Ok(())
    }

    /// Folds the log's own records as far as the checkpoint covers them.
    fn fold_to(&self, checkpoint: &Checkpoint) -> Result<Fold, CheckpointFault> {
        let mut fold = {
            let progress = lock(&self.inner.shared.progress);
            progress.check(checkpoint)?;
            progress.signed()
        };
        while fold.count() < checkpoint.count {
            let missing = usize::try_from(checkpoint.count - fold.count()).unwrap_or(usize::MAX);
            let hashes = self.hashes(fold.count(), missing);
            if hashes.is_empty() {
                return Err(CheckpointFault::Unreadable);
            }
            hashes.into_iter().for_each(|hash| fold.push(hash));
        }
        if fold.head() == checkpoint.head {
            Ok(fold)
        } else {
            Err(CheckpointFault::OtherHead(checkpoint.count))
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.inner.shared.path)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn end(&self) {
        lock(&self.shared.queue).close();
        self.shared.wake.notify_one();
        let thread = lock(&self.thread).take();
        // An abandoned attempt may hold the last writer. The thread then drops it itself and cannot join itself; it ends
        // on its own.
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        if let Some(thread) = thread.filter(|thread| !is_own(thread)) {
            // A panic needs no handling here: the worker's Drop has completed all waiting callers.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}
