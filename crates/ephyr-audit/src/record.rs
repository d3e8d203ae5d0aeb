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

/// One record. Its line is the canonical JSON of these fields in this order, absent ones left out,
/// and the chain's `hash` last. Every field is bounded by its type, so that a line never exceeds
/// [`MAX_LINE`](ephyr_chain::MAX_LINE).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Names this record; outcomes, receipts and people refer to it.
    pub id: RecordId,
    /// When it happened.
    pub time: Timestamp,
    /// How grave it is.
    pub severity: Severity,
    /// What happened.
    pub event: Event,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// The task it was asked in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The root of that task's tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<TaskId>,
    /// All tasks from the root down to `task`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lineage: Vec<TaskId>,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionInfo>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionInfo>,
    /// The certificate's serial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// For how many equal events this record stands; absent for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The record of the attempt that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<RecordId>,
    /// Further facts.
    #[serde(default, skip_serializing_if = "Detail::is_empty")]
    pub detail: Detail,
    /// In the first record of a file: which log this is, and where it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogLink>,
    /// In a `checkpoint` record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Box<Checkpoint>>,
    /// In an `epoch_started` record, so that receipts can be checked with the log alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<Box<DelegationCertificate>>,
    /// SHA-256 of the policy in force.
    pub policy: Digest,
}

impl Record {
    /// A record with nothing but the four things that each one has.
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

    /// Names the task by its lineage, root first.
    #[must_use]
    pub fn with_lineage(mut self, lineage: impl IntoIterator<Item = TaskId>) -> Self {
        self.lineage = lineage.into_iter().collect();
        self.root = self.lineage.first().copied();
        self.task = self.lineage.last().copied();
        self
    }

    /// Adds a further fact; see [`Detail::insert`].
    #[must_use]
    pub fn with_detail(mut self, key: &str, value: impl Into<Text<1024>>) -> Self {
        self.detail.insert(key, value);
        self
    }

    /// About how many bytes its line takes, more rather than less.
    pub(crate) fn about_bytes(&self) -> usize {
        let action = self.action.as_ref().map_or(0, |action| {
            let (command, url) = (action.command.as_ref(), action.url.as_ref());
            command.map_or(0, |text| text.as_str().len()) + url.map_or(0, |url| url.as_str().len())
        });
        1024 + action + 30 * self.lineage.len() + self.detail.bytes()
    }

    /// Whether it belongs to this task or to one below it.
    #[must_use]
    pub fn is_of_task(&self, task: TaskId) -> bool {
        self.task == Some(task) || self.root == Some(task) || self.lineage.contains(&task)
    }
}

/// What kind of action it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// A command on a target.
    Exec,
    /// A certificate for an agent's own use.
    Certificate,
    /// A session of an agent.
    Session,
    /// Making, reading or revoking a task.
    Task,
    /// A tool that acts on nothing.
    Tool,
    /// An MCP resource.
    Resource,
    /// A call of the Unix-socket API.
    Api,
    /// Something an operator did.
    Admin,
}

impl ActionKind {
    /// The name as it stands in a record.
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

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionInfo {
    /// Its kind.
    pub kind: ActionKind,
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// The role on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// The command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Text<4096>>,
    /// SHA-256 of what the command reads.
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
    /// The tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolName>,
}

impl ActionInfo {
    /// An action of this kind, with nothing else said.
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

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionInfo {
    /// The step of the decision path that refused, 1 to 8; absent where all eight were passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u8>,
    /// The reason's code, such as `role_not_granted`; `permitted` where nothing refused.
    pub reason: Text<64>,
    /// The rule that decided: a key path of the policy, or `token envelope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Text<512>>,
}

/// Which log a file belongs to, and what stands before its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLink {
    /// The log's id: that of its `log_opened` record.
    pub log: RecordId,
    /// Records in the files before this one.
    pub count: u64,
    /// Hash of the last of them; zeros where there is none.
    pub previous: Digest,
    /// The checkpoint head over them.
    pub head: Digest,
}

/// A record together with the hash under which it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// Its hash in the chain.
    pub hash: Digest,
}
