//! Why a command did not run, or did not run to its end; and whether it may have run all the same.

use std::borrow::Cow;

use ephyr_api::{Encoding, ExecFailure};
use ephyr_audit::AuditError;
use ephyr_core::live::Ended;
use ephyr_core::signer::SignerError;
use ephyr_names::{TaskId, Timestamp};
use ephyr_policy::Denial;
use ephyr_ssh::{ExecOutput, SshError};

use super::written;

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
    /// The target reported an exit, but no proof that the command started.
    #[error(
        "the target ran another program instead of the command, or nothing: it reported {0} without proof that the \
         command started. Check on the target that the account's shell runs sealed commands (`getent passwd`; \
         bash, dash or zsh, not fish, csh or nologin) and that no ForceCommand of sshd_config applies to the \
         account"
    )]
    Unproven(String),
}

/// A command that did not run to its end, with the output received so far.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: RunError,
    pub(super) output: Option<ExecOutput>,
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Self {
        Self {
            error,
            output: None,
        }
    }
}

impl Failed {
    /// Returns the message for people, followed by the output so far if output is text.
    #[must_use]
    pub fn message(&self, encoding: Encoding) -> String {
        let mut message = self.error.to_string();
        if let Some(output) = &self.output {
            written::append(&written::written(output, encoding), &mut message);
        }
        message
    }

    /// The particulars for programs.
    #[must_use]
    pub fn details(&self, encoding: Encoding) -> ExecFailure<'_> {
        let output = self.output.as_ref();
        ExecFailure {
            reason: Cow::Borrowed(self.error.code()),
            started: self.error.may_have_run(),
            output: output.map(|output| written::written(output, encoding)),
        }
    }
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
            Self::Unproven(_) => "command_not_begun",
        }
    }

    /// Whether the signer is only reloading its policy, so that the same request may succeed when
    /// retried.
    pub(super) fn is_reloading(&self) -> bool {
        matches!(self, Self::Signer(error) if error.is_reloading())
    }

    /// Whether the target was asked to run the command: it may have run then, in part or to its end.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Ended(_) | Self::Lost(_) | Self::Unproven(_) => true,
            Self::Denied(_)
            | Self::Revoked { .. }
            | Self::NotBegun(_)
            | Self::Audit(_)
            | Self::Signer(_)
            | Self::Ssh(_) => false,
        }
    }
}
