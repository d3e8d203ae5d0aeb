//! One record of the log.

use ephyr_chain::Checkpoint;
use ephyr_names::{
    AgentName, Digest, Method, RecordId, RemoteName, RoleName, Serial, ServiceName, TargetName,
    TaskId, Timestamp, ToolName,
};
use ephyr_token::DelegationCertificate;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Severity};
use crate::text::{Detail, Text};

/// The key of the detail in which a file's first record says what happened to the previous file.
pub(crate) const TAKEN_AWAY: &str = "taken_away";

/// One record. Its line is the canonical JSON of these fields in this order, without the absent ones, and with the
/// chain's `hash` last. The type of each field limits its size, so a line never exceeds
/// [`MAX_LINE`](ephyr_chain::MAX_LINE).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The record's id, to which outcomes and receipts refer.
    pub id: RecordId,
    /// The time of the event.
    pub time: Timestamp,
    /// The event's severity.
    pub severity: Severity,
    /// The event.
    pub event: Event,
    /// The agent that sent the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// The task of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The root of the task's tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<TaskId>,
    /// All tasks from the root to `task`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lineage: Vec<TaskId>,
    /// The requested action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionInfo>,
    /// The policy decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionInfo>,
    /// The certificate's serial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// The duration of the action, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Number of equal events that this record stands for; absent for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The id of the attempt whose outcome this record is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<RecordId>,
    /// Additional facts.
    #[serde(default, skip_serializing_if = "Detail::is_empty")]
    pub detail: Detail,
    /// In the first record of a file: the log's id and the position in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogLink>,
    /// The signer's countersignature, in a `checkpoint` record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Box<Checkpoint>>,
    /// The epoch's certificate, in an `epoch_started` record: receipts can be verified with the log alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<Box<DelegationCertificate>>,
    /// SHA-256 of the policy in force.
    pub policy: Digest,
}

impl Record {
    /// Returns a record with only the mandatory fields.
    #[must_use]
    pub fn new(id: RecordId, time: Timestamp, event: Event, policy: Digest) -> Self {
        Self {
            id,
            time,
            severity: event.severity(),
            event,
            agent: None,
            task: None,
            root: None,
            lineage: Vec::new(),
            action: None,
            decision: None,
            serial: None,
            duration_ms: None,
            count: None,
            attempt: None,
            detail: Detail::default(),
            log: None,
            checkpoint: None,
            delegation: None,
            policy,
        }
    }

    /// Sets the task, its root and its lineage; the root is first.
    #[must_use]
    pub fn with_lineage(mut self, lineage: impl IntoIterator<Item = TaskId>) -> Self {
        self.lineage = lineage.into_iter().collect();
        self.root = self.lineage.first().copied();
        self.task = self.lineage.last().copied();
        self
    }

    /// Adds a detail; see [`Detail::insert`].
    #[must_use]
    pub fn with_detail(mut self, key: &str, value: impl Into<Text<1024>>) -> Self {
        self.detail.insert(key, value);
        self
    }

    /// Estimates the size of its line in bytes, rather too high than too low.
    pub(crate) fn about_bytes(&self) -> usize {
        let action = self.action.as_ref().map_or(0, |action| {
            let (command, url) = (action.command.as_ref(), action.url.as_ref());
            command.map_or(0, |text| text.as_str().len()) + url.map_or(0, |url| url.as_str().len())
        });
        1024 + action + 30 * self.lineage.len() + self.detail.bytes()
    }

    /// Returns whether the record belongs to this task or one of its descendants.
    #[must_use]
    pub fn is_of_task(&self, task: TaskId) -> bool {
        self.task == Some(task) || self.root == Some(task) || self.lineage.contains(&task)
    }
}

/// The kind of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// A command on a target.
    Exec,
    /// A certificate for an agent's own use.
    Certificate,
    /// An API session.
    Session,
    /// Creating, reading or revoking a task.
    Task,
    /// An MCP tool without an effect.
    Tool,
    /// An MCP resource.
    Resource,
    /// A request to the Unix-socket API.
    Api,
    /// An operator's action.
    Admin,
}

impl ActionKind {
    /// Returns the name that records contain.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Certificate => "certificate",
            Self::Session => "session",
            Self::Task => "task",
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Api => "api",
            Self::Admin => "admin",
        }
    }
}

/// The requested action in a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionInfo {
    /// The action's kind.
    pub kind: ActionKind,
    /// The SSH host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// The role on the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// The command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Text<4096>>,
    /// SHA-256 of the command's standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Digest>,
    /// The HTTP service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The HTTP method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The URL, or the URI of a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Text<2048>>,
    /// The remote MCP server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteName>,
    /// The MCP tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolName>,
}

impl ActionInfo {
    /// Returns an action of this kind without further fields.
    #[must_use]
    pub fn new(kind: ActionKind) -> Self {
        Self {
            kind,
            target: None,
            role: None,
            command: None,
            stdin: None,
            service: None,
            method: None,
            url: None,
            remote: None,
            tool: None,
        }
    }
}

/// The policy decision in a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionInfo {
    /// The step of the decision path that denied, 1 to 8; absent if the request was permitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u8>,
    /// The reason code, such as `role_not_granted`; `permitted` if no step denied.
    pub reason: Text<64>,
    /// The deciding rule: a key path of the policy, or `token envelope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Text<512>>,
}

/// The log that a file belongs to, and the chain's state before the file's first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLink {
    /// The log's id: that of its `log_opened` record.
    pub log: RecordId,
    /// Records in the files before this one.
    pub count: u64,
    /// Hash of the last of these records; zeros if there are none.
    pub previous: Digest,
    /// The checkpoint head over these records.
    pub head: Digest,
}

/// A record read from the log, with its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// Its hash in the chain.
    pub hash: Digest,
}
