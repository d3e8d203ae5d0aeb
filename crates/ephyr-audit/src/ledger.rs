//! Which records are on disk and which of them the signer has countersigned. Hashes that wait for the
//! signer are kept in memory up to a bound, and beyond it read back from the log.

use std::collections::VecDeque;

use ephyr_names::{Digest, RecordId};

use crate::error::CheckpointFault;
use ephyr_chain::{Checkpoint, Fold};

/// Hashes kept in memory, 32 bytes each: what the fastest log writes within two seconds. Beyond it they are read
/// back, which took a tenth of a busy broker's time.
pub(crate) const WINDOW: usize = 64 * 1024;

/// Hashes for the signer to fold: those of records `from`, `from + 1`, … of `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// The log's id.
    pub log: RecordId,
    /// How many records stand before the first of these.
    pub from: u64,
    /// Their hashes, in order; never empty.
    pub hashes: Vec<Digest>,
}

/// Where a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The log's id.
    pub log: RecordId,
    /// Records on disk.
    pub count: u64,
    /// Records that a recorded checkpoint covers.
    pub signed: u64,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    /// Records on disk.
    durable: u64,
    /// Records up to the last one that is no checkpoint.
    last_real: u64,
    signed: Fold,
    /// Number of the first hash in the window.
    window_from: u64,
    window: VecDeque<Digest>,
}

impl Ledger {
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

    /// A record has reached the disk.
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

    /// Whether the signer should see something after record `from`. A checkpoint alone is no reason for
    /// another one: a log at rest stays at rest.
    pub(crate) fn has_unsigned(&self, from: u64) -> bool {
        from < self.last_real
    }

    /// Hashes from the window; none if they are not in it.
    pub(crate) fn hashes(&self, from: u64, max: usize) -> Vec<Digest> {
        let Some(skip) = from.checked_sub(self.window_from) else {
            return Vec::new();
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.window.iter().skip(skip).take(max).copied().collect()
    }

    /// Puts hashes in the window that were read back from the log.
    pub(crate) fn refill(&mut self, from: u64, hashes: Vec<Digest>) {
        self.window_from = from;
        self.window = hashes.into();
    }

    /// A recorded checkpoint covers this much now.
    pub(crate) fn set_signed(&mut self, fold: Fold) {
        self.signed = fold;
        while self.window_from < fold.count() && self.window.pop_front().is_some() {
            self.window_from += 1;
        }
        self.window.shrink_to(1024);
    }

    /// Whether a checkpoint can follow: of this log, of more than was signed and no more than there is.
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
