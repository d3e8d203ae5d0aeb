//! The entries of the signer's journal.

use ephyr_chain::Fold;
use ephyr_names::{
    AgentName, Digest, EpochId, RecordId, RoleName, Serial, TargetName, TaskId, Timestamp,
};
use serde::{Deserialize, Serialize};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The time by the signer's clock.
    pub time: Timestamp,
    /// The event.
    #[serde(flatten)]
    pub event: JournalEvent,
}

/// The events that the journal records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum JournalEvent {
    /// The signer started.
    Started {
        /// Its version.
        version: String,
        /// SHA-256 of the policy.
        policy: Digest,
        /// The CA key's fingerprint.
        ca: String,
    },
    /// First line of a journal that continues a previous file.
    Continued {
        /// The hash of the previous file's last line.
        previous: Digest,
        /// Number of entries in the previous file.
        entries: u64,
        /// `removed`, `renamed` or `replaced`, if the previous file was taken away while the signer ran.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_away: Option<String>,
    },
    /// First line of a new journal after the previous one went missing.
    Missing {},
    /// The signer stopped on a signal.
    Stopped {},
    /// A new policy took effect.
    PolicyLoaded {
        /// SHA-256 of the policy.
        policy: Digest,
    },
    /// A certificate was signed.
    Issued {
        /// Its serial.
        serial: Serial,
        /// The agent.
        agent: AgentName,
        /// The target.
        target: TargetName,
        /// The role.
        role: RoleName,
        /// The purpose: `exec`, `session`, `user` or `check`.
        purpose: String,
        /// The task.
        task: Option<TaskId>,
        /// The task at the root of its lineage.
        root: Option<TaskId>,
        /// The end of its validity.
        expires: Timestamp,
        /// The fingerprint of the subject's key.
        key: String,
        /// SHA-256 of the command that the certificate is sealed to.
        command: Option<Digest>,
        /// SHA-256 of the policy that it was derived from.
        policy: Digest,
    },
    /// A delegation certificate was signed.
    Delegated {
        /// The epoch.
        epoch: EpochId,
        /// The broker that mints tokens.
        broker_id: String,
        /// The last moment at which the broker may mint tokens.
        mint_until: Timestamp,
        /// The latest expiry of those tokens.
        valid_until: Timestamp,
    },
    /// The head of an audit log was signed.
    Checkpoint {
        /// The log's id.
        log: RecordId,
        /// Number of its records that the head covers.
        count: u64,
        /// The head.
        head: Digest,
    },
    /// Requests or connections were refused `count` times since this kind was last recorded.
    Refused {
        /// The reason: an error code of the protocol, or `stranger`.
        code: String,
        /// The agent.
        agent: Option<AgentName>,
        /// The target.
        target: Option<TargetName>,
        /// The role.
        role: Option<RoleName>,
        /// The UID of the process that connected, for `stranger`.
        uid: Option<u32>,
        /// Number of refusals.
        count: u32,
    },
}

impl JournalEvent {
    pub(crate) fn of_fold(fold: &Fold) -> Self {
        Self::Checkpoint {
            log: fold.log(),
            count: fold.count(),
            head: fold.head(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_has_the_documented_json_form() {
        let entry = JournalEntry {
            time: Timestamp::from_unix_seconds(0),
            event: JournalEvent::PolicyLoaded {
                policy: Digest::ZERO,
            },
        };
        let text = serde_json::to_string(&entry).unwrap();
        let zeros = "0".repeat(64);
        let expected = r#"{"time":"1970-01-01T00:00:00Z","event":"policy_loaded","policy":""#;
        assert_eq!(text, format!("{expected}{zeros}\"}}"));
        assert_eq!(serde_json::from_str::<JournalEntry>(&text).unwrap(), entry);
    }
}
