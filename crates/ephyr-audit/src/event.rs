//! The closed list of events, and their severities.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The severity of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Normal operation.
    Info,
    /// A denial, or a condition that the operator should check.
    Warn,
    /// A failure.
    Error,
    /// A sign of tampering or of lost records.
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

/// The text is not the name of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown event {0:?}")]
pub struct EventError(String);

macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $text:literal, $severity:ident;)*) => {
        /// The event of a record. Records contain its name in snake case, such as `exec_attempt`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Event {
            $($(#[$doc])* $event,)*
        }

        impl Event {
            /// Every event.
            pub const ALL: &[Self] = &[$(Self::$event,)*];

            /// Returns the name that records contain.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$event => $text,)*
                }
            }

            /// Returns the default severity of the event's records.
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
    /// The first record of a log; its id is the log's id.
    LogOpened = "log_opened", Info;
    /// The first record of a file that continues a log: after a rotation, or, as an alert, after the open file was
    /// removed, renamed or replaced.
    LogContinued = "log_continued", Info;
    /// An incomplete last line, left by a crash, was moved aside.
    LogRecovered = "log_recovered", Warn;
    /// The log can be written again after a failure; no record is missing.
    AuditRecovered = "audit_recovered", Error;
    /// Records without a waiting caller were lost while the log could not be written.
    AuditGap = "audit_gap", Alert;
    /// The signer's countersignature over the log so far.
    Checkpoint = "checkpoint", Info;
    /// The signer refused to countersign, or cannot be reached.
    CheckpointFailed = "checkpoint_failed", Error;
    /// A daemon started.
    Startup = "startup", Info;
    /// A daemon shuts down cleanly.
    Shutdown = "shutdown", Info;
    /// A new policy is in force.
    PolicyReload = "policy_reload", Info;
    /// A new policy was rejected; the previous one stays in force.
    PolicyReloadFailed = "policy_reload_failed", Error;
    /// A new token epoch, with its delegation certificate.
    EpochStarted = "epoch_started", Info;
    /// The signer refused or did not answer.
    SignerFailed = "signer_failed", Error;
    /// The state journal or the nonce file was removed or replaced, and was rewritten from memory.
    StateRestored = "state_restored", Alert;
    /// A command is about to run.
    ExecAttempt = "exec_attempt", Info;
    /// The outcome of a command.
    ExecOutcome = "exec_outcome", Info;
    /// A certificate is about to be issued to an agent.
    CertAttempt = "cert_attempt", Info;
    /// The outcome of issuing a certificate.
    CertOutcome = "cert_outcome", Info;
    /// A task is about to be created.
    TaskCreateAttempt = "task_create_attempt", Info;
    /// A task was created.
    TaskCreated = "task_created", Info;
    /// A task is about to be bound to a key.
    TaskBindAttempt = "task_bind_attempt", Info;
    /// A task was bound to a key.
    TaskBound = "task_bound", Info;
    /// A task is about to be revoked.
    TaskRevokeAttempt = "task_revoke_attempt", Info;
    /// A task and all its descendants were revoked.
    TaskRevoked = "task_revoked", Info;
    /// A request was denied.
    Denied = "denied", Warn;
    /// A request could not be authenticated.
    AuthFailed = "auth_failed", Warn;
    /// A caller exceeded a limit of requests or failures.
    RateLimited = "rate_limited", Warn;
    /// A read without an effect.
    Read = "read", Info;
    /// An API session was opened.
    SessionOpened = "session_opened", Info;
    /// An API session ended.
    SessionClosed = "session_closed", Info;
    /// A target showed another host key than the pinned one.
    HostKeyMismatch = "host_key_mismatch", Alert;
    /// A target without a pinned host key was used, as the policy allows.
    HostKeyUnpinned = "host_key_unpinned", Warn;
}

impl Event {
    /// Returns the event of the attempt whose outcome this event records, if it records one.
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

    /// Returns whether a record of this event must name its attempt. A record that is itself on disk before its effect
    /// needs no attempt.
    #[must_use]
    pub fn needs_attempt(self) -> bool {
        matches!(self, Self::ExecOutcome | Self::CertOutcome)
    }

    /// Returns whether the event is an attempt, whose outcome must be recorded too.
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

    /// Returns whether equal records within a second are merged into one with a count.
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
    fn names_are_unique_and_round_trip() {
        for &event in Event::ALL {
            assert_eq!(event.as_str().parse(), Ok(event));
        }
        assert!("Startup".parse::<Event>().is_err());
    }

    #[test]
    fn every_outcome_has_an_attempt() {
        for &event in Event::ALL {
            if event.as_str().ends_with("_outcome") {
                assert!(event.needs_attempt() && event.attempt().is_some_and(Event::is_attempt));
            }
            assert_eq!(event.is_attempt(), event.as_str().ends_with("_attempt"));
            // The outcome of a merged attempt could not name it.
            assert!(!(event.coalesces() && (event.is_attempt() || event.attempt().is_some())));
        }
    }
}
