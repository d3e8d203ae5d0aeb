//! The state that the writer and its thread share.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::progress::CheckpointProgress;
use crate::queue::Queue;

pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) queue: Mutex<Queue>,
    /// Wakes the thread when the queue has work.
    pub(crate) wake: Condvar,
    pub(crate) progress: Mutex<CheckpointProgress>,
    /// Number of records that the checkpoint file beside the log covers.
    pub(crate) checkpoint_file_covers: Mutex<u64>,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, queue_limit: usize, progress: CheckpointProgress) -> Self {
        Self {
            path,
            queue: Mutex::new(Queue::new(queue_limit)),
            wake: Condvar::new(),
            progress: Mutex::new(progress),
            checkpoint_file_covers: Mutex::new(0),
        }
    }
}

/// Locks the mutex, even after a panic of another holder: changes under these locks leave a valid state at each step, and
/// a panic must not stop the log.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
