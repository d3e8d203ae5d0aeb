//! The requests and replies themselves.

use std::fmt;

use ephyr_names::{
    AgentName, Digest, EpochId, RecordId, RoleName, Serial, TargetName, TaskId, Timestamp, Ttl,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::packed::{self, PublicKeyBytes};

/// What the broker can ask of the signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Is the signer there, and by which policy does it act?
    Ping {},
    /// A certificate for this intent.
    Sign {
        /// Who wants to do what, where.
        intent: Intent,
    },
    /// A delegation certificate for the key of a new epoch.
    Delegate {
        /// The epoch.
        epoch: EpochId,
        /// Its Ed25519 public key.
        public_key: PublicKeyBytes,
        /// Who mints.
        broker_id: BrokerId,
        /// For how long tokens may be minted; 1 h without it, 24 h at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mint_for: Option<Ttl>,
    },
    /// A signature over the head of an audit log, after these records.
    Checkpoint {
        /// The log.
        log: RecordId,
        /// How many of its records the signer has folded already.
        from: u64,
        /// The hashes of the records that follow, at most [`MAX_CHECKPOINT_HASHES`](crate::MAX_CHECKPOINT_HASHES); on the wire one
        /// base64url string, 32 bytes each.
        #[serde(with = "packed::digests")]
        hashes: Vec<Digest>,
    },
    /// The CA's public key.
    RootPublicKey {},
}

/// Who wants to do what, where: what the signer derives a certificate from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// SHA-256 of the policy file by which the broker decided.
    pub policy: Digest,
    /// The agent that acts: the lineage's last.
    pub agent: AgentName,
    /// The host.
    pub target: TargetName,
    /// The role on it.
    pub role: RoleName,
    /// How long the certificate should be valid; `exec` gets 60 s at most.
    pub ttl: Ttl,
    /// The connection's public key, as an OpenSSH `ssh-ed25519 …` line.
    pub public_key: String,
    /// What for.
    pub purpose: Purpose,
    /// The task that it belongs to: the lineage's last.
    pub task: Option<TaskId>,
    /// Tasks and their agents from the root down; empty where there is no task.
    pub lineage: Vec<(TaskId, AgentName)>,
}

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Purpose {
    /// One command, which the certificate is sealed to.
    Exec {
        /// What the account's login shell runs; at most [`ephyr_names::MAX_COMMAND_BYTES`] bytes, no NUL.
        command: String,
        /// SHA-256 of what it reads on stdin, where there is any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdin_digest: Option<Digest>,
    },
    /// A connection that the broker keeps open and runs several commands on.
    Session,
    /// A certificate handed to the agent for its own SSH client.
    User,
    /// A login that runs nothing, to see whether the target accepts certificates.
    Check,
}

/// What the signer answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// To [`Request::Ping`].
    Pong {
        /// The signer's version.
        version: String,
        /// SHA-256 of the policy file by which it acts.
        policy: Digest,
        /// Seconds since it started.
        uptime_seconds: u64,
        /// What confines it.
        sandbox: SandboxReport,
    },
    /// To [`Request::Sign`].
    Certificate {
        /// The certificate, as an OpenSSH `ssh-ed25519-cert-v01@openssh.com …` line.
        certificate: String,
        /// Its serial.
        serial: Serial,
        /// When it ends.
        expires: Timestamp,
    },
    /// To [`Request::Delegate`]: the fields of the payload as they were signed.
    Delegation {
        /// The epoch.
        epoch: EpochId,
        /// Who mints.
        broker_id: BrokerId,
        /// The epoch's public key.
        public_key: PublicKeyBytes,
        /// When it was signed.
        issued_at: Timestamp,
        /// Until when tokens may be minted.
        mint_until: Timestamp,
        /// Until when the tokens so minted can live.
        valid_until: Timestamp,
        /// SSHSIG, PEM, namespace `ephyr-delegation`.
        signature: String,
    },
    /// To [`Request::Checkpoint`].
    Checkpoint {
        /// The log.
        log: RecordId,
        /// How many of its records are folded into the head.
        count: u64,
        /// The head.
        head: Digest,
        /// When it was signed.
        time: Timestamp,
        /// SSHSIG, PEM, namespace `ephyr-checkpoint`.
        signature: String,
    },
    /// To [`Request::RootPublicKey`].
    RootPublicKey {
        /// An OpenSSH `ssh-ed25519 …` line.
        public_key: String,
    },
    /// To anything that is refused.
    Error {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people: what is wrong, where, what to do.
        message: String,
        /// With [`ErrorCode::CheckpointMismatch`]: how many records of that log the signer has folded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
    },
}

/// Why the signer refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is not a request.
    Malformed,
    /// The intent was decided by another policy than the signer's: reload, then try again.
    PolicyMismatch,
    /// The signer's policy does not grant this agent (or one of its lineage) this role on this target.
    NotGranted,
    /// The lineage contradicts itself or is too long.
    BadLineage,
    /// The TTL is zero or above what the policy allows.
    TtlTooLong,
    /// An open certificate for a role that only gives sealed ones.
    NotUnsealed,
    /// The target needs an approval that the signer can verify.
    ApprovalRequired,
    /// The command is empty, too long or has a NUL.
    BadCommand,
    /// The role's command policy does not allow the command.
    CommandNotAllowed,
    /// The public key is not a well-formed Ed25519 key.
    BadPublicKey,
    /// More requests than the policy allows in its window: try again later.
    RateLimited,
    /// `from` is not the number of records that the signer has folded; `expected` is.
    CheckpointMismatch,
    /// The journal cannot be written, so nothing is signed.
    JournalUnavailable,
    /// The signer itself failed.
    Internal,
}

impl ErrorCode {
    /// The code as it stands on the wire.
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

/// What the kernel enforces on the signer, as [`Reply::Pong`] tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxReport {
    /// The Landlock ABI in force; 0 where there is none.
    pub landlock_abi: u32,
    /// What Landlock enforces, such as `files`, `tcp`, `scopes`.
    pub landlock: Vec<String>,
    /// Whether a syscall filter is in force.
    pub seccomp: bool,
    /// Whether memory is locked out of swap.
    pub memory_locked: bool,
    /// Whether the process refuses core dumps and tracing by its own user.
    pub non_dumpable: bool,
}

/// Names a broker in delegation certificates: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct BrokerId(String);

/// The text is not a broker id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a broker id: 1 to 64 letters, digits, '.', '_' and '-' are expected")]
pub struct BrokerIdError;

impl BrokerId {
    /// Checks the text.
    ///
    /// # Errors
    ///
    /// When it is empty, longer than 64 bytes or has another character.
    pub fn new(text: impl Into<String>) -> Result<Self, BrokerIdError> {
        let text = text.into();
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(ok) {
            Ok(Self(text))
        } else {
            Err(BrokerIdError)
        }
    }

    /// The id as text.
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
