//! Errors of chained files. Each message names the file and the remedy.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ephyr_sandbox::{Displaced, exit};

use crate::line::{LineFault, SealError};

/// The reason why a chained file could not be opened. The operator must correct it; a daemon does not start without its
/// log.
#[derive(Debug, thiserror::Error)]
pub enum ChainOpenError {
    /// The file, its directory or a file beside it cannot be used.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation that failed.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path is a symbolic link.
    #[error("{} is a symbolic link; the log must be a regular file, name the file itself", .0.display())]
    Symlink(PathBuf),
    /// The file is not a regular file.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// The file belongs to another user.
    #[error(
        "{} belongs to user {owner}, but this process runs as user {own}; give it to that user or name another file",
        path.display()
    )]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        own: u32,
    },
    /// Other users may write the file.
    #[error("{} may be written by others (mode {mode:04o}); set it to 0640", path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process has locked the file.
    #[error("{} is being written by another process; a log has one writer", .0.display())]
    Locked(PathBuf),
    /// A line is not as its writer left it.
    #[error(
        "{}, line {line}: {fault}. The log is evidence: keep it, see `ephyr audit verify`, and move it away to start a new one",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// The reason.
        fault: LineFault,
    },
    /// The first records of a new file could not be written.
    #[error(transparent)]
    Write(#[from] ChainWriteError),
}

impl ChainOpenError {
    /// Returns the exit code of a daemon that cannot start for this reason.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Symlink(_)
            | Self::NotRegular(_)
            | Self::ForeignOwner { .. }
            | Self::Writable { .. } => exit::CONFIG,
            Self::Broken { .. } => exit::DATA_ERROR,
            Self::Locked(_) => exit::TEMPORARY_FAILURE,
            Self::Io { .. } | Self::Write(_) => exit::IO_ERROR,
        }
    }

    /// Returns a function that converts an error of the operation `what` on this file.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

/// The reason why a record is not in a chained file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChainWriteError {
    /// The write failed. The next write tries again.
    #[error(
        "cannot write the log {}: {message}; nothing is done unrecorded, so free space or repair the disk",
        path.display()
    )]
    Io {
        /// The file.
        path: Arc<Path>,
        /// The kind of error, such as [`io::ErrorKind::StorageFull`].
        kind: io::ErrorKind,
        /// The system's error.
        message: Arc<str>,
    },
    /// Another program wrote to the file or truncated it.
    #[error(
        "the log {} has {found} bytes, but its writer left {expected}: another program changed it. Nothing is done unrecorded; \
         move the file away and restart",
        path.display()
    )]
    Changed {
        /// The file.
        path: Arc<Path>,
        /// The length that the writer left.
        expected: u64,
        /// The length that was found.
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
        /// How the file was displaced.
        how: Displaced,
    },
    /// The record cannot be written as a line.
    #[error(transparent)]
    Record(#[from] SealError),
}

impl ChainWriteError {
    /// Returns how the file was displaced, if it is no longer the one at its path.
    #[must_use]
    pub fn displaced(&self) -> Option<Displaced> {
        match self {
            Self::Displaced { how, .. } => Some(*how),
            _ => None,
        }
    }
}
