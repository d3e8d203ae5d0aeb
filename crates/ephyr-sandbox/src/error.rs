//! The error type of this crate.

use std::io;
use std::path::PathBuf;

use crate::exit;

/// Setting up the process failed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Other threads are running and would stay unconfined.
    #[error(
        "the process has {0} threads: the sandbox must be applied before a second thread starts"
    )]
    Threads(usize),
    /// The kernel's Landlock ABI is older than the configuration demands.
    #[error(
        "the kernel offers Landlock ABI {found}, {minimum} is demanded: use a newer kernel, enable \
         Landlock (boot option lsm=landlock,…), or lower sandbox.minimum_abi in the policy"
    )]
    LandlockTooOld {
        /// The kernel's ABI; 0 without Landlock.
        found: u32,
        /// The ABI demanded.
        minimum: u32,
    },
    /// A path that must be accessible inside the sandbox cannot be opened.
    #[error("cannot open {path}, which must exist before the sandbox is applied: {why}")]
    Path {
        /// The path.
        path: PathBuf,
        /// The system's error.
        why: io::Error,
    },
    /// The kernel refused the Landlock rules.
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// The system call filter could not be built or loaded.
    #[error("system call filter: {0}")]
    Seccomp(String),
    /// A system call failed.
    #[error("{what}: {why}")]
    System {
        /// The operation or its object.
        what: String,
        /// The system's error.
        why: io::Error,
    },
    /// The user or group does not exist.
    #[error("unknown {kind} {name:?}: create it, or give its number")]
    UnknownAccount {
        /// `user` or `group`.
        kind: &'static str,
        /// The name that was looked up.
        name: String,
    },
    /// The socket's path is in use.
    #[error("{path}: {why}")]
    SocketTaken {
        /// The path.
        path: PathBuf,
        /// The reason.
        why: &'static str,
    },
}

impl SandboxError {
    /// Returns the exit code of a daemon that fails with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::LandlockTooOld { .. } | Self::Path { .. } | Self::UnknownAccount { .. } => {
                exit::CONFIG
            }
            Self::SocketTaken { .. } => exit::CANNOT_CREATE,
            Self::Landlock(_) | Self::Seccomp(_) | Self::System { .. } => exit::OS_ERROR,
            Self::Threads(_) => exit::SOFTWARE,
        }
    }

    pub(crate) fn system(what: impl Into<String>, why: impl Into<io::Error>) -> Self {
        Self::System {
            what: what.into(),
            why: why.into(),
        }
    }
}
