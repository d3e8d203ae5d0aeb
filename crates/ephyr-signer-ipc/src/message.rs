//! The requests and replies.

use std::fmt;

use ephyr_names::{
    AgentName, Digest, EpochId, RecordId, RoleName, Serial, TargetName, TaskId, Timestamp, Ttl,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::packed::{self, PublicKeyBytes};

/// A request of the broker to the signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Asks for the signer's status and policy digest.
    Ping {},
    /// Asks for a certificate.
    Sign {
        /// The action that the certificate is for.
        intent: Intent,
    },
    /// Asks for a delegation certificate for the key of a new epoch.
    Delegate {
        /// The epoch.
        epoch: EpochId,
        /// The epoch's Ed25519 public key.
        public_key: PublicKeyBytes,
        /// The broker that mints the epoch's tokens.
        broker_id: BrokerId,
        /// How long tokens may be minted; default 1 h, maximum 24 h.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mint_for: Option<Ttl>,
    },
    /// Asks for a signature over the head of an audit log after these records.
    Checkpoint {
        /// The audit log's id.
        log: RecordId,
        /// The number of records that the signer has already folded into the head.
        from: u64,
        /// The hashes of the records that follow, at most [`MAX_CHECKPOINT_HASHES`](crate::MAX_CHECKPOINT_HASHES); on the wire one
        /// base64url string of 32 bytes per hash.
        #[serde(with = "packed::digests")]
        hashes: Vec<Digest>,
    },
    /// Asks for the CA's public key.
    RootPublicKey {},
}

/// The action from which the signer derives a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// SHA-256 of the policy file that the broker decided by.
    pub policy: Digest,
    /// The acting agent: the last of the lineage, if there is one.
    pub agent: AgentName,
    /// The SSH host.
    pub target: TargetName,
    /// The role on the target.
    pub role: RoleName,
    /// The requested validity of the certificate; at most 60 s for `exec`.
    pub ttl: Ttl,
    /// The connection's public key, as an OpenSSH `ssh-ed25519 …` line.
    pub public_key: String,
    /// The certificate's purpose.
    pub purpose: Purpose,
    /// The task of the action: the last of the lineage.
    pub task: Option<TaskId>,
    /// Tasks and their agents from the root down; empty if there is no task.
    pub lineage: Vec<(TaskId, AgentName)>,
}

/// The purpose of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Purpose {
    /// One command, to which the certificate is sealed.
    Exec {
        /// The command for the account's login shell; at most [`ephyr_names::MAX_COMMAND_BYTES`] bytes, no NUL.
        command: String,
        /// SHA-256 of the command's stdin, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdin_digest: Option<Digest>,
    },
    /// A connection that the broker keeps open for several commands.
    Session,
    /// A certificate issued to the agent for its own SSH client.
    User,
    /// A login without a command, to test whether the target accepts certificates.
    Check,
}

/// A reply of the signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// The reply to [`Request::Ping`].
    Pong {
        /// The signer's version.
        version: String,
        /// SHA-256 of the policy file in force.
        policy: Digest,
        /// Seconds since the signer started.
        uptime_seconds: u64,
        /// The signer's sandbox.
        sandbox: SandboxReport,
    },
    /// The reply to [`Request::Sign`].
    Certificate {
        /// The certificate, as an OpenSSH `ssh-ed25519-cert-v01@openssh.com …` line.
        certificate: String,
        /// The certificate's serial.
        serial: Serial,
        /// The end of its validity.
        expires: Timestamp,
    },
    /// The reply to [`Request::Delegate`]: the payload's fields as signed.
    Delegation {
        /// The epoch.
        epoch: EpochId,
        /// The broker that mints the epoch's tokens.
        broker_id: BrokerId,
        /// The epoch's public key.
        public_key: PublicKeyBytes,
        /// The time of signing.
        issued_at: Timestamp,
        /// The time until which tokens may be minted.
        mint_until: Timestamp,
        /// The time at which all of these tokens have expired.
        valid_until: Timestamp,
        /// SSHSIG in PEM form, namespace `ephyr-delegation`.
        signature: String,
    },
    /// The reply to [`Request::Checkpoint`].
    Checkpoint {
        /// The audit log's id.
        log: RecordId,
        /// The number of records folded into the head.
        count: u64,
        /// The hash of the chain's head.
        head: Digest,
        /// The time of signing.
        time: Timestamp,
        /// SSHSIG in PEM form, namespace `ephyr-checkpoint`.
        signature: String,
    },
    /// The reply to [`Request::RootPublicKey`].
    RootPublicKey {
        /// An OpenSSH `ssh-ed25519 …` line.
        public_key: String,
    },
    /// The reply to a refused request.
    Error {
        /// The reason for programs.
        code: ErrorCode,
        /// The reason for people: the fault, its place and the remedy.
        message: String,
        /// With [`ErrorCode::CheckpointMismatch`]: the number of that log's records that the signer has folded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
    },
}

/// Why the signer refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is not a request.
    Malformed,
    /// The broker decided by another policy than the signer's: reload, then retry.
    PolicyMismatch,
    /// The signer's policy does not grant this agent (or one of its lineage) this role on this target.
    NotGranted,
    /// The lineage contradicts itself or is too long.
    BadLineage,
    /// The TTL is zero or above what the policy allows.
    TtlTooLong,
    /// An unsealed certificate was requested for a role that issues only sealed ones.
    NotUnsealed,
    /// The target requires an approval that the signer can verify.
    ApprovalRequired,
    /// The command is empty, too long or contains a NUL.
    BadCommand,
    /// The role's command policy does not allow the command.
    CommandNotAllowed,
    /// The public key is not a well-formed Ed25519 key.
    BadPublicKey,
    /// The policy's rate limit is exceeded: retry later.
    RateLimited,
    /// `from` differs from the number of records that the signer has folded, which `expected` gives.
    CheckpointMismatch,
    /// The journal cannot be written, so the signer signs nothing.
    JournalUnavailable,
    /// An internal failure of the signer.
    Internal,
}

impl ErrorCode {
    /// Returns the code as spelled on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::PolicyMismatch => "policy_mismatch",
            Self::NotGranted => "not_granted",
            Self::BadLineage => "bad_lineage",
            Self::TtlTooLong => "ttl_too_long",
            Self::NotUnsealed => "not_unsealed",
            Self::ApprovalRequired => "approval_required",
            Self::BadCommand => "bad_command",
            Self::CommandNotAllowed => "command_not_allowed",
            Self::BadPublicKey => "bad_public_key",
            Self::RateLimited => "rate_limited",
            Self::CheckpointMismatch => "checkpoint_mismatch",
            Self::JournalUnavailable => "journal_unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The kernel restrictions on the signer, as reported in [`Reply::Pong`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxReport {
    /// The Landlock ABI in force; 0 if there is none.
    pub landlock_abi: u32,
    /// The classes of access that Landlock restricts, such as `files`, `tcp`, `scopes`.
    pub landlock: Vec<String>,
    /// Whether a syscall filter is in force.
    pub seccomp: bool,
    /// Whether memory is locked out of swap.
    pub memory_locked: bool,
    /// Whether core dumps and tracing by the process's own user are disabled.
    pub non_dumpable: bool,
}

/// A broker's id in delegation certificates: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct BrokerId(String);

/// The text is not a broker id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a broker id: expected 1 to 64 letters, digits, '.', '_' and '-'")]
pub struct BrokerIdError;

impl BrokerId {
    /// Validates a text as a broker id.
    ///
    /// # Errors
    ///
    /// If it is empty, longer than 64 bytes or contains another character.
    pub fn new(text: impl Into<String>) -> Result<Self, BrokerIdError> {
        let text = text.into();
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(ok) {
            Ok(Self(text))
        } else {
            Err(BrokerIdError)
        }
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for BrokerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
