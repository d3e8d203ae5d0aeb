//! Errors.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::decision::DenialDetails;

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiProblem<'a> {
    /// What is wrong, for people.
    pub error: Cow<'a, str>,
    /// The reason code.
    pub code: Cow<'a, str>,
    /// The seconds after which a retry may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
    /// The denial, if the decision path refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialDetails<'a>>,
}
