//! The decision about an action, in answers.

use std::borrow::Cow;

use ephyr_names::Ttl;
use serde::{Deserialize, Serialize};

/// The decision that a dry run returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision<'a> {
    /// Whether the action would be allowed.
    pub allowed: bool,
    /// The step of the decision path that refused, 1 to 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u8>,
    /// The reason code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// The rule that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'a, str>>,
    /// The reason in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Cow<'a, str>>,
    /// The lifetime, in seconds, of what would be issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// Actions that would be allowed instead, such as `web as read`.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub alternatives: Cow<'a, [String]>,
}

/// A denial by the decision path: the details of a failed tool call, and a member of errors of `/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialDetails<'a> {
    /// The step that refused, 1 to 8.
    pub step: u8,
    /// The reason code.
    pub reason: Cow<'a, str>,
    /// The rule that refused.
    pub rule: Cow<'a, str>,
    /// The reason in a sentence.
    pub message: Cow<'a, str>,
    /// Actions that would be allowed instead, such as `web as read`.
    pub alternatives: Cow<'a, [String]>,
}

impl<'a> Decision<'a> {
    /// Returns the decision that allows an action with this lifetime.
    #[must_use]
    pub fn allowed(ttl: Ttl) -> Self {
        Self {
            allowed: true,
            step: None,
            reason: None,
            rule: None,
            message: None,
            ttl_seconds: Some(ttl.as_secs()),
            alternatives: Cow::Borrowed(&[]),
        }
    }

    /// Returns the decision of a denial by the decision path.
    #[must_use]
    pub fn denied(denial: DenialDetails<'a>) -> Self {
        Self {
            step: Some(denial.step),
            rule: Some(denial.rule),
            alternatives: denial.alternatives,
            ..Self::refused(denial.reason, denial.message)
        }
    }

    /// Returns a refusal outside the decision path.
    #[must_use]
    pub fn refused(reason: impl Into<Cow<'a, str>>, message: impl Into<Cow<'a, str>>) -> Self {
        Self {
            allowed: false,
            step: None,
            reason: Some(reason.into()),
            rule: None,
            message: Some(message.into()),
            ttl_seconds: None,
            alternatives: Cow::Borrowed(&[]),
        }
    }
}
