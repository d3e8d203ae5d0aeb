//! The broker's end of the audit log. Appending never blocks: records go to one thread of the log's
//! own, which writes what has gathered with one write and one fdatasync, and then tells all who wait.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use ephyr_names::{Digest, RecordId, Timestamp};

use crate::clock::{self, new_record_id};
use crate::error::{AuditError, CheckpointFault, Failure, OpenError};
use crate::event::Event;
use crate::files;
use crate::ledger::{Ledger, Position, Unsigned, WINDOW};
use crate::queue::{Job, Kind, Merge, Order, Queue};
use crate::record::Record;
use crate::start;
use crate::worker::Worker;
use ephyr_chain::Torn;
use ephyr_chain::{Checkpoint, Fold};

/// What a durable append leads to: called once, on the writer's thread (or at once on the caller's
/// where the record was not even taken). It must not block.
pub type Completion = Box<dyn FnOnce(Result<Appended, AuditError>) + Send>;

/// A record that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its id.
    pub id: RecordId,
    /// Its hash in the chain.
    pub hash: Digest,
}

/// How a log is written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// SHA-256 of the policy in force, for the records that the log writes about itself until the
    /// first other one names a newer policy.
    pub policy: Digest,
    /// Bytes at which a new file is begun.
    pub rotate_at: Option<u64>,
    /// Records that may wait for the disk: so many that somebody waits for, and as many others.
    pub queue: usize,
}

impl WriterOptions {
    /// Files of 64 MiB (each start reads one through), 8192 records in the queue.
    #[must_use]
    pub fn new(policy: Digest) -> Self {
        Self {
            policy,
            rotate_at: Some(64 * 1024 * 1024),
            queue: 8192,
        }
    }
}

/// How a log was found.
#[derive(Debug)]
pub struct OpenReport {
    /// Whether it is a new one.
    pub created: bool,
    /// Where it stands.
    pub position: Position,
    /// The unfinished last line that was put aside, if there was one.
    pub torn: Option<Torn>,
}

/// Writes one audit log. Clones share it; the last one that goes writes what still waits.
#[derive(Clone)]
pub struct Writer {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer and its thread share.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) wake: Condvar,
    pub(crate) ledger: Mutex<Ledger>,
    /// Records that the checkpoint kept beside the log covers.
    beside: Mutex<u64>,
}

/// A lock whose holder panicked is taken all the same: every change under these locks is complete at
/// each step, and a log that stops answering would be worse.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Opens the log at `path` or begins a new one, and checks all of its current file.
    ///
    /// # Errors
    /// [`OpenError`]; the daemon must not start then.
    pub fn open(path: &Path, options: &WriterOptions) -> Result<(Self, OpenReport), OpenError> {
        let started = start::open(path, options.policy)?;
        let report = OpenReport {
            created: started.created,
            position: started.ledger.position(),
            torn: started.torn,
        };
        let shared = Arc::new(Shared {
            path: path.into(),
            queue: Mutex::new(Queue::new(options.queue)),
            wake: Condvar::new(),
            ledger: Mutex::new(started.ledger),
            beside: Mutex::new(0),
        });
        let worker = Worker::new(Arc::clone(&shared), started.log, options);
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

    /// Appends a record and calls `done` once it is on disk, or cannot be. While the disk refuses,
    /// every call tries it anew. Where too many records wait already, `done` gets
    /// [`AuditError::Busy`] at once: that is the back-pressure, and the caller's to pass on.
    pub fn append_durable(&self, record: &Record, done: Completion) {
        match Job::new(record, Kind::Durable(done)) {
            Ok(job) => self.push_durable(job),
            Err((error, kind)) => refuse(kind, error),
        }
    }

    fn push_durable(&self, job: Job) {
        let refused = lock(&self.inner.shared.queue).push_durable(job);
        match refused {
            Ok(wake) => self.wake_if(wake),
            Err((error, job)) => refuse(job.kind, error),
        }
    }

    /// Appends a record and waits until it is on disk. For code outside an async runtime.
    ///
    /// # Errors
    /// As for [`Writer::append_durable`].
    pub fn append_durable_blocking(&self, record: &Record) -> Result<Appended, AuditError> {
        let (done, result) = sync_channel(1);
        self.append_durable(
            record,
            Box::new(move |appended| {
                // The receiver lives until it has the answer.
                let _ = done.send(appended);
            }),
        );
        result.recv().unwrap_or(Err(AuditError::Closed))
    }

    /// Appends a record nobody waits for; it is on disk within a second. Reads, denials and failures
    /// that repeat themselves until then become one record with a `count`.
    ///
    /// # Errors
    /// If it was not taken: the queue is full, or the record makes no line. What a full queue drops is
    /// counted, and the count recorded as `audit_gap`.
    pub fn append(&self, record: Record) -> Result<(), AuditError> {
        let now = Instant::now();
        let mut record = record;
        if record.event.coalesces() {
            let merged = lock(&self.inner.shared.queue).merge(record, now)?;
            match merged {
                Merge::Taken { wake } => {
                    self.wake_if(wake);
                    return Ok(());
                }
                Merge::Differs(other) => record = other,
            }
        }
        let kind = Kind::Relaxed(record.count.unwrap_or(1));
        let job = Job::new(&record, kind).map_err(|(error, _)| error)?;
        let wake = lock(&self.inner.shared.queue).push_relaxed(job, now)?;
        self.wake_if(wake);
        Ok(())
    }

    fn wake_if(&self, wake: bool) {
        if wake {
            self.inner.shared.wake.notify_one();
        }
    }

    /// Puts on disk all that was appended so far. Blocks.
    ///
    /// # Errors
    /// If something is not on disk.
    pub fn flush(&self) -> Result<(), AuditError> {
        let (tell, told) = sync_channel(1);
        self.order(Order::Flush(tell), &told)
            .unwrap_or(Err(AuditError::Closed))
    }

    /// Begins a new file, which continues the log; gives the old one's new name. Blocks.
    ///
    /// # Errors
    /// If that fails; the log then goes on in its file.
    pub fn rotate(&self) -> Result<PathBuf, OpenError> {
        let (tell, told) = sync_channel(1);
        self.order(Order::Rotate(tell), &told)
            .unwrap_or(Err(OpenError::Write(AuditError::Closed)))
    }

    fn order<T>(&self, order: Order, told: &Receiver<T>) -> Option<T> {
        lock(&self.inner.shared.queue).order(order).ok()?;
        self.inner.shared.wake.notify_one();
        told.recv().ok()
    }

    /// Writes what waits and ends the thread; later appends get [`AuditError::Closed`]. Blocks.
    ///
    /// # Errors
    /// If something is not on disk.
    pub fn close(&self) -> Result<(), AuditError> {
        let flushed = self.flush();
        self.inner.end();
        flushed
    }

    /// Since when and why the log cannot be written; `None` while it can.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        lock(&self.inner.shared.queue).failure.clone()
    }

    /// Returns the last failure, even if the log can be written again.
    #[must_use]
    pub fn last_failure(&self) -> Option<Failure> {
        lock(&self.inner.shared.queue).last_failure.clone()
    }

    /// Has the thread check that the file is still the one at its path, as it does before each write; a failure
    /// shows in [`Writer::failure`]. For an idle log.
    pub fn look(&self) {
        let wake = lock(&self.inner.shared.queue).look();
        self.wake_if(wake);
    }

    /// Where the log stands.
    #[must_use]
    pub fn position(&self) -> Position {
        lock(&self.inner.shared.ledger).position()
    }

    /// Hashes that the signer has not countersigned, at most `max`; `None` where nothing but
    /// checkpoints has been written since. Reads them from the log where they are too many for
    /// memory, so it may block.
    #[must_use]
    pub fn unsigned(&self, max: usize) -> Option<Unsigned> {
        self.unsigned_from(self.position().signed, max)
    }

    /// The same from record `from` on, for a signer that stands elsewhere than the last recorded
    /// checkpoint (it signed one that a crash kept from being recorded).
    #[must_use]
    pub fn unsigned_from(&self, from: u64, max: usize) -> Option<Unsigned> {
        let log = {
            let ledger = lock(&self.inner.shared.ledger);
            if max == 0 || !ledger.has_unsigned(from) {
                return None;
            }
            ledger.position().log
        };
        let hashes = self.hashes(from, max);
        (!hashes.is_empty()).then_some(Unsigned { log, from, hashes })
    }

    fn hashes(&self, from: u64, max: usize) -> Vec<Digest> {
        let durable = {
            let ledger = lock(&self.inner.shared.ledger);
            let hashes = ledger.hashes(from, max);
            if !hashes.is_empty() {
                return hashes;
            }
            ledger.position().count
        };
        // Read without the lock: the writer's thread needs it with every batch.
        let read = files::read_hashes(&self.inner.shared.path, from, durable, WINDOW);
        let read = read.unwrap_or_default();
        let hashes = read.iter().copied().take(max).collect();
        if !read.is_empty() {
            lock(&self.inner.shared.ledger).refill(from, read);
        }
        hashes
    }

    /// Records the signer's checkpoint, once its head was found to be that of the log's own records, and
    /// keeps a copy beside the log, for shipping. `time` is the record's. Blocks.
    ///
    /// # Errors
    /// If it does not fit the log, or is not on disk.
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
            // The receiver lives until it has the answer.
            let _ = done.send(appended);
        });
        let job = Job::new(&record, Kind::Checkpoint(Box::new(fold), done));
        self.push_durable(job.map_err(|(error, _)| error)?);
        let appended = result.recv().unwrap_or(Err(AuditError::Closed))?;
        // The record is what counts, and the next copy replaces this one.
        let _ = self.keep_beside(checkpoint);
        Ok(appended)
    }

    /// Replaces the copy of the newest checkpoint; not on the writer's thread, where everybody waits.
    fn keep_beside(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let shared = &self.inner.shared;
        let mut newest = lock(&shared.beside);
        if *newest < checkpoint.count {
            files::keep_beside(&shared.path, checkpoint)?;
            *newest = checkpoint.count;
        }
        Ok(())
    }

    /// Folds the log's own records as far as the checkpoint covers them.
    fn fold_to(&self, checkpoint: &Checkpoint) -> Result<Fold, CheckpointFault> {
        let mut fold = {
            let ledger = lock(&self.inner.shared.ledger);
            ledger.check(checkpoint)?;
            ledger.signed()
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
        // An attempt that was given up may hold the last writer, and is dropped by the thread itself, which then ends
        // by itself.
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        if let Some(thread) = thread.filter(|thread| !is_own(thread)) {
            // The thread does not panic; if it did, it has refused all that waited (see its Drop).
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tells whoever waits for a record that it is not in the log.
pub(crate) fn refuse(kind: Kind, error: AuditError) {
    match kind {
        Kind::Durable(done) | Kind::Checkpoint(_, done) => done(Err(error)),
        Kind::Relaxed(_) => {}
    }
}

/// The time now and a fresh id, for a record of the log's own.
pub(crate) fn own_record(event: Event, policy: Digest) -> Record {
    let time = clock::now();
    Record::new(new_record_id(time), time, event, policy)
}
