//! How a command fails: a code for programs, a sentence for people, an exit status for shells.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// The command line is wrong (sysexits: `EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// Something that was given is wrong (`EX_DATAERR`).
pub(crate) const DATA: u8 = 65;
/// A file cannot be read (`EX_NOINPUT`).
pub(crate) const NO_INPUT: u8 = 66;
/// The broker, the target or a program is not there (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;
/// A file cannot be made (`EX_CANTCREAT`).
pub(crate) const CANNOT_CREATE: u8 = 73;
/// It broke off in the middle, and may have taken effect (`EX_IOERR`).
pub(crate) const BROKE_OFF: u8 = 74;
/// It may work later (`EX_TEMPFAIL`).
pub(crate) const TEMPORARY: u8 = 75;
/// The broker answers what was not asked (`EX_PROTOCOL`).
pub(crate) const PROTOCOL: u8 = 76;
/// Refused: who asks may not (`EX_NOPERM`).
pub(crate) const DENIED: u8 = 77;
/// The remote command's output is incomplete. No sysexits status means that.
pub(crate) const OUTPUT_INCOMPLETE: u8 = 79;
/// The command ran out of its time (as timeout(1)).
pub(crate) const TIMED_OUT: u8 = 124;
/// A command is there and cannot be run (as of shells).
pub(crate) const CANNOT_RUN: u8 = 126;
/// A command is not there (as of shells).
pub(crate) const NO_COMMAND: u8 = 127;

/// Why a command did not do what it was asked.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// What happened and what to do.
    error: String,
    /// The same in a word.
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

    /// The command line is wrong.
    pub(crate) fn usage(error: impl Into<String>) -> Self {
        Self::new(USAGE, "usage", error)
    }

    /// What was given is wrong.
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

    /// The broker answers in a way that this program does not understand.
    pub(crate) fn protocol(error: impl fmt::Display) -> Self {
        let text =
            format!("the broker's answer is not understood: {error}; is it the same version?");
        Self::new(PROTOCOL, "protocol", text)
    }

    /// Adds what the broker said besides.
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
