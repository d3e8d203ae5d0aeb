//! `POST /v1/session` and `GET /v1/session`.

use std::borrow::Cow;

use ephyr_names::{AgentName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::secret::SecretText;

/// The body of `POST /v1/session`, which may also be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenSession {
    /// The caller's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<AgentName>,
}

/// A session of this API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session<'a> {
    /// The agent.
    pub agent_name: Cow<'a, AgentName>,
    /// The UID, if the caller was authenticated by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The session's expiry.
    pub expires_at: Timestamp,
    /// The session token; only in the answer that opens the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretText<'a>>,
}
