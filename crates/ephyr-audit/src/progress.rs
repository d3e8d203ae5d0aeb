//! Tracks which records are on disk and which of them the signer has countersigned. Hashes that wait for the signer are
//! kept in memory up to a limit, and beyond it read from the log.

use std::collections::VecDeque;

use ephyr_chain::{Checkpoint, Fold};
use ephyr_names::{Digest, RecordId};

use crate::error::CheckpointFault;

/// Maximum number of hashes kept in memory, 32 bytes each: the records of two seconds at the highest rate. Reading them
/// from the log took a tenth of a busy broker's time.
pub(crate) const WINDOW: usize = 64 * 1024;

/// Hashes for the signer to fold: those of records `from`, `from + 1`, … of `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// The log's id.
    pub log: RecordId,
    /// Number of records before the first of these.
    pub from: u64,
    /// The hashes, in order; never empty.
    pub hashes: Vec<Digest>,
}

/// The length of a log and how far it is countersigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The log's id.
    pub log: RecordId,
    /// Number of records on disk.
    pub count: u64,
    /// Number of records that a recorded checkpoint covers.
    pub signed: u64,
}

#[derive(Debug)]
pub(crate) struct CheckpointProgress {
    /// Number of records on disk.
    durable: u64,
    /// Number of records up to the last one that is not a checkpoint.
    last_real: u64,
    signed: Fold,
    /// Number of the first hash in the window.
    window_from: u64,
    window: VecDeque<Digest>,
}

impl CheckpointProgress {
    pub(crate) fn new(durable: u64, last_real: u64, signed: Fold) -> Self {
        Self {
            durable,
            last_real,
            signed,
            window_from: durable,
            window: VecDeque::new(),
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position {
            log: self.signed.log(),
            count: self.durable,
            signed: self.signed.count(),
        }
    }

    pub(crate) fn signed(&self) -> Fold {
        self.signed
    }

    /// Counts a record that is on disk.
    pub(crate) fn written(&mut self, hash: Digest, is_checkpoint: bool) {
        if self.window.is_empty() {
            self.window_from = self.durable;
        }
        let follows = self.window_from + self.window.len() as u64 == self.durable;
        if follows && self.window.len() < WINDOW {
            self.window.push_back(hash);
        }
        self.durable += 1;
        if !is_checkpoint {
            self.last_real = self.durable;
        }
    }

    /// Returns whether the signer should countersign a record after record `from`. A checkpoint alone does not cause
    /// another one, so an idle log stays idle.
    pub(crate) fn has_unsigned(&self, from: u64) -> bool {
        from < self.last_real
    }

    /// Returns hashes from the window, or none if they are not in it.
    pub(crate) fn hashes(&self, from: u64, max: usize) -> Vec<Digest> {
        let Some(skip) = from.checked_sub(self.window_from) else {
            return Vec::new();
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.window.iter().skip(skip).take(max).copied().collect()
    }

    /// Fills the window with hashes that were read from the log.
    pub(crate) fn refill(&mut self, from: u64, hashes: Vec<Digest>) {
        self.window_from = from;
        self.window = hashes.into();
    }

    /// Sets the fold that a recorded checkpoint covers.
    pub(crate) fn set_signed(&mut self, fold: Fold) {
        self.signed = fold;
        while self.window_from < fold.count() && self.window.pop_front().is_some() {
            self.window_from += 1;
        }
        self.window.shrink_to(1024);
    }

    /// Checks that a checkpoint can follow: it is of this log, and covers more records than are signed and no more than
    /// are on disk.
    pub(crate) fn check(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointFault> {
        let (signed, already) = (checkpoint.count, self.signed.count());
        if checkpoint.log != self.signed.log() {
            Err(CheckpointFault::OtherLog)
        } else if signed > self.durable {
            let present = self.durable;
            Err(CheckpointFault::TooMany { signed, present })
        } else if signed <= already {
            Err(CheckpointFault::NothingNew { signed, already })
        } else {
            Ok(())
        }
    }
}
