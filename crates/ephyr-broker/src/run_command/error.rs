//! Errors of a command that did not run to its end, and whether it may have had effects.

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
    /// The policy denies the command.
    #[error("{0}")]
    Denied(Denial),
    /// The task was revoked after the request arrived and before the command started.
    #[error("task {task} was revoked at {at}; nothing was run")]
    Revoked {
        /// The task.
        task: TaskId,
        /// The time of the revocation.
        at: Timestamp,
    },
    /// The command was ended after the target had been asked to run it.
    #[error(
        "the command was ended ({}) after the target had been asked to run it; effects it had until then remain",
        .0.as_str()
    )]
    Ended(Ended),
    /// The command was cancelled before the target was asked to run it.
    #[error("nothing was run: {}", .0.as_str())]
    NotBegun(Ended),
    /// The audit log cannot be written.
    #[error("nothing was run: {0}")]
    Audit(#[from] AuditError),
    /// The signer issued no certificate.
    #[error("nothing was run: {0}")]
    Signer(SignerError),
    /// The connection or the login to the target failed.
    #[error("nothing was run: {0}")]
    Ssh(#[from] SshError),
    /// The connection broke after the target had been asked to run the command.
    #[error(
        "the connection to the target broke after it had been asked to run the command ({0}): the command \
         may have run, partly or completely; check its effects before you retry"
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
pub struct RunFailure {
    /// The cause.
    pub error: RunError,
    pub(super) output: Option<ExecOutput>,
}

impl From<RunError> for RunFailure {
    fn from(error: RunError) -> Self {
        Self {
            error,
            output: None,
        }
    }
}

impl RunFailure {
    /// Returns the message for people, followed by the output so far if the encoding is text.
    #[must_use]
    pub fn message(&self, encoding: Encoding) -> String {
        let mut message = self.error.to_string();
        if let Some(output) = &self.output {
            written::append(&written::written(output, encoding), &mut message);
        }
        message
    }

    /// Returns the details for programs.
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
    /// Returns the reason code.
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

    /// Returns whether the signer is reloading its policy, so that a retry may succeed.
    pub(super) fn is_reloading(&self) -> bool {
        matches!(self, Self::Signer(error) if error.is_reloading())
    }

    /// Returns whether the target was asked to run the command, which may then have run, partly or completely.
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
