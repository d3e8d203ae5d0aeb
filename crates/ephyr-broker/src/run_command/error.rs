//! Why a command did not run, or did not run to its end; and whether it may have run all the same.

use ephyr_audit::AuditError;
use ephyr_names::{TaskId, Timestamp};
use ephyr_policy::Denial;
use ephyr_ssh::SshError;
use serde::Serialize;

use crate::live::Ended;
use crate::signer::SignerError;

/// Why a command did not run, or did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The policy says no.
    #[error("{0}")]
    Denied(Denial),
    /// The task was revoked between the request's arrival and its start.
    #[error("task {task} was revoked at {at}; nothing was run")]
    Revoked {
        /// The task.
        task: TaskId,
        /// When.
        at: Timestamp,
    },
    /// It was ended from outside after the target had been asked to run it.
    #[error(
        "the command was ended ({}) after the target had been asked to run it; what it did until then stands",
        .0.as_str()
    )]
    Ended(Ended),
    /// It was ended from outside before the target was asked to run it.
    #[error("nothing was run: {}", .0.as_str())]
    NotBegun(Ended),
    /// The audit log cannot be written.
    #[error("nothing was run: {0}")]
    Audit(#[from] AuditError),
    /// The signer gave no certificate.
    #[error("nothing was run: {0}")]
    Signer(SignerError),
    /// The target could not be used, or said no.
    #[error("nothing was run: {0}")]
    Ssh(#[from] SshError),
    /// The connection broke after the target had been asked to run the command.
    #[error(
        "the connection to the target broke after it had been asked to run the command ({0}): the command \
         may have run, in part or to its end; look before you ask for it again"
    )]
    Lost(String),
}

/// What programs read of a [`RunError`].
#[derive(Serialize)]
pub struct Details {
    reason: &'static str,
    /// Whether the target was asked to run the command, so that it may have run.
    started: bool,
}

impl RunError {
    /// Why, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.reason.as_str(),
            Self::Revoked { .. } => Ended::TaskRevoked.as_str(),
            Self::Ended(ended) | Self::NotBegun(ended) => ended.as_str(),
            Self::Audit(_) => "audit_unavailable",
            Self::Signer(SignerError::Refused { code, .. }) => code.as_str(),
            Self::Signer(_) => "signer_unavailable",
            Self::Ssh(error) => error.code(),
            Self::Lost(_) => "connection_lost",
        }
    }

    /// Whether the target was asked to run the command: it may have run then, in part or to its end.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Ended(_) | Self::Lost(_) => true,
            Self::Denied(_)
            | Self::Revoked { .. }
            | Self::NotBegun(_)
            | Self::Audit(_)
            | Self::Signer(_)
            | Self::Ssh(_) => false,
        }
    }

    /// The particulars for programs.
    #[must_use]
    pub fn details(&self) -> Details {
        Details {
            reason: self.code(),
            started: self.may_have_run(),
        }
    }
}
