//! Errors that end the broker, with their exit codes.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ephyr_audit::{AuditError, OpenError};
use ephyr_sandbox::{SandboxError, exit};

use crate::background::Stopped;
use crate::policy::LoadError;
use crate::reload::ReloadError;

/// Why the broker cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The policy or a credential that it names cannot be used.
    #[error(transparent)]
    Policy(#[from] LoadError),
    /// `--check`: a reload would not put the policy in force.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// The list of CA keys cannot be used.
    #[error("{}: {why}", path.display())]
    CaList {
        /// The file.
        path: PathBuf,
        /// The problem.
        why: String,
    },
    /// The state directory is not accessible.
    #[error("state directory {}: {why}; `--state-dir` names another", path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        why: io::Error,
    },
    /// The token secret would reach the disk.
    #[error(
        "state directory {} is not on tmpfs, so the token secret would reach the disk; name a directory under /run \
         (--state-dir), or accept it with --allow-state-on-disk", .0.display()
    )]
    StateOnDisk(PathBuf),
    /// The TCP socket passed by systemd is reachable from other hosts.
    #[error("the TCP socket from systemd is not a loopback one; MCP has no TLS")]
    NotLoopback,
    /// The process cannot be confined, or a socket or an account is missing.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The MCP address cannot be listened on.
    #[error("cannot listen for MCP on {address}: {why}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        why: io::Error,
    },
    /// A thread, descriptor or other resource is not available.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The audit log cannot be opened.
    #[error("the audit log: {0}; `--audit-log` names another file")]
    AuditLog(#[from] OpenError),
    /// The start cannot be recorded.
    #[error(transparent)]
    Record(#[from] AuditError),
    /// The state journal cannot be read or written.
    #[error("the tasks' state in {}: {why}; `--state-dir` names another directory", path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        why: io::Error,
    },
    /// A background task stopped.
    #[error(transparent)]
    BackgroundTask(#[from] Stopped),
    /// The declarations of the tools cannot be serialised.
    #[error(transparent)]
    Declarations(#[from] serde_json::Error),
}

impl RunError {
    /// Returns the exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Policy(_)
            | Self::Reload(_)
            | Self::CaList { .. }
            | Self::StateDirectory { .. }
            | Self::StateOnDisk(_)
            | Self::NotLoopback => exit::CONFIG,
            Self::Sandbox(error) => error.exit_code(),
            Self::Listen { .. } | Self::System(_) => exit::OS_ERROR,
            Self::AuditLog(error) => error.exit_code(),
            Self::Record(_) | Self::State { .. } => exit::IO_ERROR,
            Self::BackgroundTask(_) | Self::Declarations(_) => exit::SOFTWARE,
        }
    }
}

#[cfg(test)]
mod tests {
    use ephyr_audit::ChainOpenError;

    use super::*;

    #[test]
    fn exit_codes_separate_configuration_from_system_errors() {
        let io = || io::Error::from(io::ErrorKind::StorageFull);
        let path = || PathBuf::from("/run/x");
        let locked = OpenError::from(ChainOpenError::Locked(path()));
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        for (error, code) in [
            (RunError::StateOnDisk(path()), 78),
            (RunError::NotLoopback, 78),
            (RunError::AuditLog(locked), 75),
            (RunError::System(io()), 71),
            (RunError::Listen { address, why: io() }, 71),
            (RunError::Record(AuditError::Closed), 74),
            (
                RunError::State {
                    path: path(),
                    why: io(),
                },
                74,
            ),
        ] {
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }
}
