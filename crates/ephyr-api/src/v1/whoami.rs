//! `GET /v1/whoami`.

use std::borrow::Cow;

use ephyr_names::{AgentName, Digest, TaskId};
use serde::{Deserialize, Serialize};

/// The caller, as authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI<'a> {
    /// The agent.
    pub agent: Cow<'a, AgentName>,
    /// The credential that authenticated the caller: `uid`, `api_key` or `token`.
    pub via: Cow<'a, str>,
    /// The UID, if it was authenticated by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The task of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The agent's description from the policy.
    pub description: Cow<'a, str>,
    /// SHA-256 of the policy in force.
    pub policy: Digest,
}
