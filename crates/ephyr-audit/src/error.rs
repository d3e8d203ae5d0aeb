//! What can go wrong with opening and writing a log. Each says where and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ephyr_names::Timestamp;
use ephyr_sandbox::Displaced;

use crate::chain::{LineFault, SealError};

/// Why a log could not be opened. The operator's to mend; the daemon must not start without its log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file, its directory or a file beside it cannot be used.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is a symbolic link.
    #[error("{} is a symbolic link; the log must be a regular file, name the file itself", .0.display())]
    Symlink(PathBuf),
    /// It is no regular file.
    #[error("{} is no regular file", .0.display())]
    NotRegular(PathBuf),
    /// It belongs to somebody else.
    #[error(
        "{} belongs to user {owner}, but this process runs as user {own}; give it to that user or name another file",
        path.display()
    )]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// Others may write it.
    #[error("{} may be written by others (mode {mode:04o}); set it to 0640", path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process writes it.
    #[error("{} is being written by another process; a log has one writer", .0.display())]
    Locked(PathBuf),
    /// Its content is not what its writer left.
    #[error(
        "{}, line {line}: {fault}. The log is evidence: keep it, see `ephyr audit verify`, and move it away to start a new one",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// Records are missing that the signer has countersigned.
    #[error(
        "{} holds {present} records, but {signed} were countersigned: its end was cut off. The log is evidence: keep it, and move it away to start a new one",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Records that were countersigned.
        signed: u64,
        /// Records that are there.
        present: u64,
    },
    /// A new log cannot be written.
    #[error(transparent)]
    Write(#[from] AuditError),
}

impl OpenError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

/// Why a record is not in the log. Whoever wanted to act on it must not.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The disk refused. Tried anew with every record.
    #[error(
        "cannot write the audit log {}: {message}; nothing is done unrecorded, so free space or mend the disk",
        path.display()
    )]
    Write {
        /// The file.
        path: Arc<Path>,
        /// Its kind, such as [`io::ErrorKind::StorageFull`].
        kind: io::ErrorKind,
        /// The system's answer.
        message: Arc<str>,
    },
    /// Somebody else wrote to the file or cut it.
    #[error(
        "the audit log {} has {found} bytes where its writer left {expected}: it was changed from outside. Nothing is done unrecorded; restart after moving the file away",
        path.display()
    )]
    Changed {
        /// The file.
        path: Arc<Path>,
        /// Bytes that the writer left there.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// The open file is no longer the one at its path, so further records would be lost.
    #[error(
        "the log {} was {how} while in use; nothing is done unrecorded. Only its writer may rename or remove it: \
         exclude it from logrotate and cleanup scripts",
        path.display()
    )]
    Displaced {
        /// The path.
        path: Arc<Path>,
        /// What happened to the file.
        how: Displaced,
    },
    /// As `Displaced`, and the log could not be continued in a new file. Retried with every record.
    #[error(
        "the log {} was {how} while in use and cannot be continued in a new file: {why}; nothing is done \
         unrecorded, so correct the cause",
        path.display()
    )]
    NotContinued {
        /// The path.
        path: Arc<Path>,
        /// What happened to the file.
        how: Displaced,
        /// What failed.
        why: Arc<str>,
    },
    /// More records wait for the disk than may. Ask again.
    #[error("the audit log is busy: too many records wait for the disk; try again")]
    Busy,
    /// The writer was closed.
    #[error("the audit log is closed: the daemon is stopping")]
    Closed,
    /// The record makes no line.
    #[error(transparent)]
    Record(#[from] SealError),
    /// The signer's checkpoint does not fit the log.
    #[error("the signer's checkpoint does not fit the log: {0}")]
    Checkpoint(CheckpointFault),
}

impl AuditError {
    /// Returns what happened to the file, if it is no longer the one at its path.
    #[must_use]
    pub fn displaced(&self) -> Option<Displaced> {
        match self {
            Self::Displaced { how, .. } | Self::NotContinued { how, .. } => Some(*how),
            _ => None,
        }
    }
}

/// How a checkpoint fails to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// It is of another log.
    #[error("it is of another log")]
    OtherLog,
    /// It covers more records than there are.
    #[error("it covers {signed} records, the log has {present}")]
    TooMany {
        /// Records covered.
        signed: u64,
        /// Records on disk.
        present: u64,
    },
    /// It covers no more than the last one.
    #[error("it covers {signed} records, of which {already} were covered already")]
    NothingNew {
        /// Records covered.
        signed: u64,
        /// Records that the last one covered.
        already: u64,
    },
    /// Its head is not that of the records.
    #[error("its head over the first {0} records is not theirs")]
    OtherHead(u64),
    /// The hashes to compare it with could not be read from the log.
    #[error("the log's own files cannot be read")]
    Unreadable,
}

/// Since when and why the log cannot be written.
#[derive(Debug, Clone)]
pub struct Failure {
    /// When the first write failed.
    pub since: Timestamp,
    /// How the last one did.
    pub error: AuditError,
}
