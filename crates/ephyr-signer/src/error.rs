//! The errors that end the signer.

use std::io;

use ephyr_chain::{ChainOpenError, ChainWriteError};
use ephyr_sandbox::{SandboxError, exit};

use crate::key::KeyError;
use crate::policy::PolicyError;

/// An error that stops the signer or keeps it from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The CA key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The sandbox, a socket or an account cannot be used.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The journal cannot be opened.
    #[error("cannot open the journal: {0}; `--journal` names another file")]
    Journal(#[from] ChainOpenError),
    /// An entry cannot be written to the journal.
    #[error(transparent)]
    Write(#[from] ChainWriteError),
    /// The policy was refused.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The poll loop failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl StartError {
    /// Returns the exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Key(_) | Self::Policy(_) => exit::CONFIG,
            Self::Sandbox(error) => error.exit_code(),
            Self::Journal(error) => error.exit_code(),
            Self::Write(_) => exit::IO_ERROR,
            Self::Io(_) => exit::OS_ERROR,
        }
    }
}
