//! `GET /v1/health`.

use std::borrow::Cow;

use ephyr_names::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// The broker's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok` or `degraded`.
    pub status: Cow<'static, str>,
    /// The broker's version.
    pub version: Cow<'static, str>,
    /// The details, for agents, operators and root on the Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<HealthDetails>,
}

/// The details of the broker's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthDetails {
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// SHA-256 of the policy in force.
    pub policy: Digest,
    /// The number of certificates in force.
    pub active_certs: usize,
    /// The number of live tasks.
    pub live_tasks: usize,
    /// The number of running actions.
    pub running: usize,
    /// Whether the signer answered when it was last asked.
    pub signer_ok: bool,
    /// The signer, as it described itself in its last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<SignerHealth>,
    /// The time until which tokens may be minted; null if none can be.
    pub minting_until: Option<Timestamp>,
    /// The audit log.
    pub audit: AuditHealth,
    /// The reason why state cannot be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_error: Option<String>,
    /// The broker's sandbox.
    pub sandbox: BrokerSandbox,
    /// The address on which MCP is served over TCP; null if it is not.
    pub mcp: Option<String>,
    /// Changes that an operator should make, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Cow<'static, str>>,
}

/// The audit log's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHealth {
    /// Whether records can be written.
    pub ok: bool,
    /// The number of records.
    pub records: u64,
    /// The number of records that the signer has countersigned.
    pub countersigned: u64,
    /// The reason why records cannot be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The signer, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerHealth {
    /// The version.
    pub version: String,
    /// SHA-256 of the policy by which it signs.
    pub policy: Digest,
    /// Its sandbox.
    pub sandbox: SignerSandbox,
}

/// The restrictions that the kernel enforces on the signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerSandbox {
    /// The Landlock ABI in force; 0 if there is none.
    pub landlock_abi: u32,
    /// The kinds of Landlock rules in force, such as `files`, `tcp`, `scopes`.
    pub landlock: Vec<String>,
    /// Whether a seccomp filter is in force.
    pub seccomp: bool,
    /// Whether memory is locked out of swap.
    pub memory_locked: bool,
    /// Whether the process is protected from core dumps and from tracing by its own user.
    pub non_dumpable: bool,
}

/// The restrictions that the kernel enforces on the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerSandbox {
    /// The Landlock ABI in force; 0 if there is none.
    pub landlock_abi: u32,
    /// The kinds of Landlock rules in force.
    pub landlock: Vec<String>,
    /// Whether the state journal, which contains the token secret, is in memory only.
    pub state_in_memory: bool,
}

impl Health {
    /// Returns whether the status is `ok`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}
