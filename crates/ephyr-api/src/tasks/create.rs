//! The tool `task_create`, and the result types that it shares with `task_delegate`.

use std::borrow::Cow;
use std::ops::Not;

use ephyr_names::{AgentName, TaskId, Timestamp};
use ephyr_token::NarrowingArguments;
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::envelope::EnvelopeJson;
use crate::receipt::ReceiptView;
use crate::secret::SecretText;
use crate::tool::{DryRun, ToolArguments};

/// The lifetime of a root task if none is given.
pub const DEFAULT_TTL: &str = "30m";
/// The type of all task tokens.
pub const TOKEN_TYPE: &str = "macaroon";

/// The arguments of `task_create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCreateArguments {
    /// The purpose of the task.
    pub description: String,
    /// The lifetime, such as `45m`.
    #[serde(default = "default_ttl")]
    pub ttl: String,
    /// Whether the task may have children.
    #[serde(default)]
    pub can_delegate: bool,
    /// The Ed25519 public key to bind the task to, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder_pub_key: Option<String>,
    /// The restrictions of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<NarrowingArguments>,
    /// Whether only the decision is requested.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub dry_run: bool,
}

impl TaskCreateArguments {
    /// Returns the arguments for a task, with defaults for the others.
    pub fn new(description: impl Into<String>) -> Self {
        Self {
            description: description.into(),
            ttl: default_ttl(),
            can_delegate: false,
            holder_pub_key: None,
            envelope: None,
            dry_run: false,
        }
    }
}

fn default_ttl() -> String {
    DEFAULT_TTL.to_owned()
}

impl ToolArguments for TaskCreateArguments {
    const TOOL: &'static str = "task_create";
    type Result = CreatedTask<'static>;

    fn may_act(&self) -> bool {
        !self.dry_run
    }
}

impl DryRun for TaskCreateArguments {
    type Preview = TaskPreview<'static>;

    fn dry_run(self) -> Self {
        Self {
            dry_run: true,
            ..self
        }
    }
}

/// A new task and its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedTask<'a> {
    /// The task.
    pub task_id: TaskId,
    /// The token.
    pub token: SecretText<'a>,
    /// The type of the token, [`TOKEN_TYPE`].
    pub token_type: Cow<'a, str>,
    /// The expiry of task and token.
    pub expires_at: Timestamp,
    /// The lifetime in seconds.
    pub ttl_seconds: u64,
    /// Whether the task may have children.
    pub can_delegate: bool,
    /// Whether the task is bound to a key.
    pub holder_bound: bool,
    /// The time before which `task_bind` must be called, if required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_deadline: Option<Timestamp>,
    /// The agent that holds the task.
    pub agent: Cow<'a, AgentName>,
    /// The upper bound of what the token allows.
    pub envelope: EnvelopeJson<'a>,
    /// The receipt of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptView>,
}

/// The result of a dry run: the decision, and for `task_delegate` agent and envelope of the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPreview<'a> {
    /// The decision.
    pub decision: Decision<'a>,
    /// The agent that would hold the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Cow<'a, AgentName>>,
    /// The upper bound of what the token would allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<EnvelopeJson<'a>>,
}

impl<'a> From<Decision<'a>> for TaskPreview<'a> {
    fn from(decision: Decision<'a>) -> Self {
        Self {
            decision,
            agent: None,
            envelope: None,
        }
    }
}
