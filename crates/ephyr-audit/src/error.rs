//! Errors of opening and writing the audit log. Each message says what failed and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ephyr_chain::{ChainOpenError, ChainWriteError, SealError};
use ephyr_names::Timestamp;
use ephyr_sandbox::{Displaced, exit};

/// The reason why a log could not be opened. The operator must correct it; a daemon does not start without its log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or a file beside it cannot be used, or the chain is broken.
    #[error(transparent)]
    File(#[from] ChainOpenError),
    /// Records are missing that the signer has countersigned.
    #[error(
        "{} holds {present} records, but {signed} were countersigned: its end was cut off. The log is evidence: keep it, and move it away to start a new one",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The number of records that were countersigned.
        signed: u64,
        /// The number of records in the log.
        present: u64,
    },
    /// A record of the log itself cannot be written, or its writer is closed.
    #[error(transparent)]
    Write(#[from] AuditError),
}

impl OpenError {
    /// Returns the exit code of a daemon that cannot start for this reason.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File(error) => error.exit_code(),
            Self::Truncated { .. } => exit::DATA_ERROR,
            Self::Write(_) => exit::IO_ERROR,
        }
    }

    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let error = ChainOpenError::io(what, path);
        move |source| Self::File(error(source))
    }
}

impl From<ChainWriteError> for OpenError {
    fn from(error: ChainWriteError) -> Self {
        Self::Write(error.into())
    }
}

/// The reason why a record is not in the log. The action that it announces must not take effect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be written, or is no longer as its writer left it. Retried with every record.
    #[error(transparent)]
    File(#[from] ChainWriteError),
    /// The open file is no longer the one at its path, and the log could not be continued in a new file. Retried with
    /// every record.
    #[error(
        "the log {} was {how} while in use and cannot be continued in a new file: {why}; nothing is done \
         unrecorded, so correct the cause",
        path.display()
    )]
    NotContinued {
        /// The path.
        path: Arc<Path>,
        /// How the file was displaced.
        how: Displaced,
        /// The error.
        why: Arc<str>,
    },
    /// Too many records wait for the disk.
    #[error("the audit log is busy: too many records wait for the disk; try again")]
    Busy,
    /// The writer is closed.
    #[error("the audit log is closed: the daemon is stopping")]
    Closed,
    /// The signer's checkpoint does not fit the log.
    #[error("the signer's checkpoint does not fit the log: {0}")]
    Checkpoint(CheckpointFault),
}

impl AuditError {
    /// Returns how the file was displaced, if it is no longer the one at its path.
    #[must_use]
    pub fn displaced(&self) -> Option<Displaced> {
        match self {
            Self::File(error) => error.displaced(),
            Self::NotContinued { how, .. } => Some(*how),
            _ => None,
        }
    }
}

impl From<SealError> for AuditError {
    fn from(error: SealError) -> Self {
        Self::File(error.into())
    }
}

/// The reason why a checkpoint does not fit the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// It belongs to another log.
    #[error("it belongs to another log")]
    OtherLog,
    /// It covers more records than the log has.
    #[error("it covers {signed} records, the log has {present}")]
    TooMany {
        /// The number of records covered.
        signed: u64,
        /// The number of records on disk.
        present: u64,
    },
    /// It covers no more records than the last one.
    #[error("it covers {signed} records, but {already} are covered already")]
    NothingNew {
        /// The number of records covered.
        signed: u64,
        /// The number of records that the last one covered.
        already: u64,
    },
    /// Its head differs from the head over the log's records.
    #[error("its head over the first {0} records differs from the log's")]
    OtherHead(u64),
    /// The record hashes could not be read from the log.
    #[error("the log's own files cannot be read")]
    Unreadable,
}

/// A failure to write the log.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The time of the first failed write.
    pub since: Timestamp,
    /// The error of the last failed write.
    pub error: AuditError,
}
