//! Failures of commands: a code for programs, a message for people, an exit status for shells.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// Invalid command line (sysexits: `EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// Invalid input (`EX_DATAERR`).
pub(crate) const DATA: u8 = 65;
/// A file cannot be read (`EX_NOINPUT`).
pub(crate) const NO_INPUT: u8 = 66;
/// The broker, the target or a program is unavailable (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;
/// A file cannot be created (`EX_CANTCREAT`).
pub(crate) const CANNOT_CREATE: u8 = 73;
/// The call failed after it may have taken effect (`EX_IOERR`).
pub(crate) const INTERRUPTED: u8 = 74;
/// Temporary failure; a retry may succeed (`EX_TEMPFAIL`).
pub(crate) const TEMPORARY: u8 = 75;
/// The broker's response is not understood (`EX_PROTOCOL`).
pub(crate) const PROTOCOL: u8 = 76;
/// Refused: the caller lacks the permission (`EX_NOPERM`).
pub(crate) const DENIED: u8 = 77;
/// The remote command's output is incomplete. No sysexits status has this meaning.
pub(crate) const OUTPUT_INCOMPLETE: u8 = 79;
/// The command timed out (as of timeout(1)).
pub(crate) const TIMED_OUT: u8 = 124;
/// A command cannot be executed (as of shells).
pub(crate) const CANNOT_RUN: u8 = 126;
/// A command was not found (as of shells).
pub(crate) const COMMAND_NOT_FOUND: u8 = 127;

/// The failure of a command.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// The message: the cause and the remedy.
    error: String,
    /// The reason code.
    code: String,
    /// Details from the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    /// The exit status.
    exit: u8,
}

impl Failure {
    pub(crate) fn new(exit: u8, code: &str, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            code: code.to_owned(),
            details: None,
            exit,
        }
    }

    /// An invalid command line.
    pub(crate) fn usage(error: impl Into<String>) -> Self {
        Self::new(USAGE, "usage", error)
    }

    /// Invalid input.
    pub(crate) fn data(error: impl Into<String>) -> Self {
        Self::new(DATA, "bad_input", error)
    }

    /// A file cannot be read.
    pub(crate) fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Self {
        let path = path.display();
        Self::new(
            NO_INPUT,
            "unreadable",
            format!("{path} cannot be read: {error}"),
        )
    }

    /// A response of the broker that this program does not understand.
    pub(crate) fn protocol(error: impl fmt::Display) -> Self {
        let text = format!(
            "the broker's response is not understood: {error}; check that its version matches"
        );
        Self::new(PROTOCOL, "protocol", text)
    }

    /// Adds details from the broker; null adds none.
    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details).filter(|details| !details.is_null());
        self
    }

    /// Details from the broker.
    pub(crate) fn details(&self) -> Option<&Value> {
        self.details.as_ref()
    }

    pub(crate) fn exit(&self) -> u8 {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}
