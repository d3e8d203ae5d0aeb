//! What can happen: the closed list of events, and how grave they are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How grave a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The ordinary course.
    Info,
    /// A refusal, or something to look at.
    Warn,
    /// Something failed.
    Error,
    /// Something that points at tampering or at lost records.
    Alert,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Alert => "alert",
        })
    }
}

/// The text names no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown event {0:?}")]
pub struct EventError(String);

macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $text:literal, $severity:ident;)*) => {
        /// What happened. In a record its name in small letters, such as `exec_attempt`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Event {
            $($(#[$doc])* $event,)*
        }

        impl Event {
            /// Every event.
            pub const ALL: &[Self] = &[$(Self::$event,)*];

            /// The name as it stands in a record.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$event => $text,)*
                }
            }

            /// The severity that a record of this event has unless it is given another.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$event => Severity::$severity,)*
                }
            }
        }

        impl FromStr for Event {
            type Err = EventError;

            fn from_str(text: &str) -> Result<Self, EventError> {
                match text {
                    $($text => Ok(Self::$event),)*
                    other => Err(EventError(other.chars().take(64).collect())),
                }
            }
        }
    };
}

events! {
    /// First record of a log; its id is the log's.
    LogOpened = "log_opened", Info;
    /// First record of a file that continues a log: after rotation, or, as an alert, after its file was taken away.
    LogContinued = "log_continued", Info;
    /// A last line that a crash had left unfinished was put aside.
    LogRecovered = "log_recovered", Warn;
    /// Writing works again after a failure, and nothing is missing.
    AuditRecovered = "audit_recovered", Error;
    /// Records that nobody waited for were lost while the log could not be written.
    AuditGap = "audit_gap", Alert;
    /// The signer's countersignature over the log so far.
    Checkpoint = "checkpoint", Info;
    /// The signer refused to countersign, or cannot be reached.
    CheckpointFailed = "checkpoint_failed", Error;
    /// A daemon has started.
    Startup = "startup", Info;
    /// A daemon stops in order.
    Shutdown = "shutdown", Info;
    /// A new policy is in force.
    PolicyReload = "policy_reload", Info;
    /// A new policy was refused; the old one stays.
    PolicyReloadFailed = "policy_reload_failed", Error;
    /// A new token epoch, with its delegation certificate.
    EpochStarted = "epoch_started", Info;
    /// The signer did not answer or refused.
    SignerFailed = "signer_failed", Error;
    /// The state journal or the nonce file was taken away and was rewritten from memory.
    StateRestored = "state_restored", Alert;
    /// A command is about to run.
    ExecAttempt = "exec_attempt", Info;
    /// How it ended.
    ExecOutcome = "exec_outcome", Info;
    /// A certificate is about to be issued to an agent.
    CertAttempt = "cert_attempt", Info;
    /// Whether it was.
    CertOutcome = "cert_outcome", Info;
    /// A task is about to be made.
    TaskCreateAttempt = "task_create_attempt", Info;
    /// A task was made.
    TaskCreated = "task_created", Info;
    /// A task is about to be bound to a key.
    TaskBindAttempt = "task_bind_attempt", Info;
    /// A task was bound to a key.
    TaskBound = "task_bound", Info;
    /// A task is about to be revoked.
    TaskRevokeAttempt = "task_revoke_attempt", Info;
    /// A task was revoked, with all below it.
    TaskRevoked = "task_revoked", Info;
    /// A decision against a request.
    Denied = "denied", Warn;
    /// Nobody could be made out behind a request.
    AuthFailed = "auth_failed", Warn;
    /// Too many requests or failures from one side.
    RateLimited = "rate_limited", Warn;
    /// Something was read that acts on nothing.
    Read = "read", Info;
    /// An agent's session was opened.
    SessionOpened = "session_opened", Info;
    /// An agent's session ended.
    SessionClosed = "session_closed", Info;
    /// A target showed another host key than the pinned one.
    HostKeyMismatch = "host_key_mismatch", Alert;
    /// A target without a pinned host key was used, as the policy allows.
    HostKeyUnpinned = "host_key_unpinned", Warn;
}

impl Event {
    /// The attempt that a record of this event answers, where it answers one.
    #[must_use]
    pub fn attempt(self) -> Option<Self> {
        match self {
            Self::ExecOutcome => Some(Self::ExecAttempt),
            Self::CertOutcome => Some(Self::CertAttempt),
            Self::TaskCreated => Some(Self::TaskCreateAttempt),
            Self::TaskBound => Some(Self::TaskBindAttempt),
            Self::TaskRevoked => Some(Self::TaskRevokeAttempt),
            _ => None,
        }
    }

    /// Whether a record of this event must name its attempt. The others may stand alone: a record
    /// that was itself on disk before its effect needs no attempt.
    #[must_use]
    pub fn needs_attempt(self) -> bool {
        matches!(self, Self::ExecOutcome | Self::CertOutcome)
    }

    /// Whether it opens an action whose end has to be recorded too.
    #[must_use]
    pub fn is_attempt(self) -> bool {
        matches!(
            self,
            Self::ExecAttempt
                | Self::CertAttempt
                | Self::TaskCreateAttempt
                | Self::TaskBindAttempt
                | Self::TaskRevokeAttempt
        )
    }

    /// Whether equal records within a second become one with a count.
    pub(crate) fn coalesces(self) -> bool {
        matches!(
            self,
            Self::Read
                | Self::Denied
                | Self::AuthFailed
                | Self::RateLimited
                | Self::SignerFailed
                | Self::CheckpointFailed
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_go_round() {
        for &event in Event::ALL {
            assert_eq!(event.as_str().parse(), Ok(event));
        }
        assert!("Startup".parse::<Event>().is_err());
    }

    #[test]
    fn every_outcome_answers_an_attempt() {
        for &event in Event::ALL {
            if event.as_str().ends_with("_outcome") {
                assert!(event.needs_attempt() && event.attempt().is_some_and(Event::is_attempt));
            }
            assert_eq!(event.is_attempt(), event.as_str().ends_with("_attempt"));
            // An attempt that was merged with another could not be answered.
            assert!(!(event.coalesces() && (event.is_attempt() || event.attempt().is_some())));
        }
    }
}
