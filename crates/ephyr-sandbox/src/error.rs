//! Why a daemon could not be prepared.

use std::io;
use std::path::PathBuf;

use crate::exit;

/// Why the process could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Other threads would stay outside.
    #[error("{0} threads run already: a sandbox must be applied before the second one starts")]
    Threads(usize),
    /// The kernel offers less Landlock than the configuration demands.
    #[error(
        "the kernel offers Landlock ABI {found}, {minimum} is demanded: use a newer kernel, enable \
         Landlock (boot option lsm=landlock,…), or lower sandbox.minimum_abi in the policy"
    )]
    LandlockTooOld {
        /// The ABI that is there; 0 for none.
        found: u32,
        /// The ABI demanded.
        minimum: u32,
    },
    /// A path that must be reachable inside the sandbox cannot be opened.
    #[error("{path}: {why}: it must exist before the sandbox closes")]
    Path {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
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
        /// What was tried.
        what: String,
        /// What the kernel said.
        why: io::Error,
    },
    /// There is no such user or group.
    #[error("there is no {kind} {name:?}: make it, or give its number")]
    UnknownAccount {
        /// `user` or `group`.
        kind: &'static str,
        /// The name that was looked up.
        name: String,
    },
    /// A socket's path is taken.
    #[error("{path}: {why}")]
    SocketTaken {
        /// The path.
        path: PathBuf,
        /// By what.
        why: &'static str,
    },
}

impl SandboxError {
    /// Returns the exit code of a daemon that cannot start for this reason.
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
