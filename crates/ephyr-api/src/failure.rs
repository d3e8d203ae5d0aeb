//! The details of a failed tool call, which the result has in `_meta` under `ephyr/error`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::decision::DenialDetails;
use crate::exec::ExecFailure;

/// The details of a failed tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FailureDetails<'a> {
    /// The decision path denied the action.
    Denied(DenialDetails<'a>),
    /// A command did not run or did not complete.
    Exec(ExecFailure<'a>),
    /// Any other failure.
    Other(FailureReason<'a>),
}

/// The reason for a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReason<'a> {
    /// The reason code.
    pub reason: Cow<'a, str>,
}

impl FailureDetails<'_> {
    /// Returns the reason code.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Denied(denial) => &denial.reason,
            Self::Exec(failure) => &failure.reason,
            Self::Other(failure) => &failure.reason,
        }
    }
}
