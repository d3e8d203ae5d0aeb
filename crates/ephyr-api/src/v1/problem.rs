//! Error bodies of `/v1`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::decision::DenialDetails;

/// The body of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiProblem<'a> {
    /// The error in words.
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
