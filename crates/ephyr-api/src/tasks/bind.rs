//! The tool `task_bind`.

use std::borrow::Cow;

use ephyr_names::{AgentName, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::receipt::ReceiptView;
use crate::secret::SecretText;
use crate::tool::ToolArguments;

/// The arguments of `task_bind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskBindArguments {
    /// The task of the caller's token.
    pub task_id: String,
    /// The Ed25519 public key to bind the task to, base64url.
    pub holder_pub_key: String,
}

impl ToolArguments for TaskBindArguments {
    const TOOL: &'static str = "task_bind";
    type Result = BoundTask<'static>;

    fn may_act(&self) -> bool {
        true
    }
}

/// A bound task and its new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundTask<'a> {
    /// The task.
    pub task_id: TaskId,
    /// Always true.
    pub bound: bool,
    /// The time of the binding.
    pub bound_at: Timestamp,
    /// The new token; the previous one is invalid.
    pub token: SecretText<'a>,
    /// The type of the token, [`TOKEN_TYPE`](crate::TOKEN_TYPE).
    pub token_type: Cow<'a, str>,
    /// The expiry of task and token.
    pub expires_at: Timestamp,
    /// The agent that holds the task.
    pub agent: Cow<'a, AgentName>,
    /// The receipt of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptView>,
}
