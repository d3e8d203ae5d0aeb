//! Errors of the SSH client, with the party that has to act on each.

use std::time::Duration;

use ephyr_names::{Account, TargetName, Timestamp};

/// Why a command has no result. The message names the target, the failure and the remedy. It never contains
/// key material or the command; text from the server is truncated and made printable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// The host name has no address.
    #[error(
        "target `{target}`: no address for `{host}` ({reason}); check `host` in the policy and the name service"
    )]
    Unresolvable {
        /// The target.
        target: TargetName,
        /// Its host name.
        host: String,
        /// The resolver's error.
        reason: String,
    },
    /// The TCP connection failed.
    #[error(
        "target `{target}`: cannot connect to {address} ({reason}); check that the host is up, that sshd \
         listens there and that no firewall blocks the connection"
    )]
    Unreachable {
        /// The target.
        target: TargetName,
        /// Host and port.
        address: String,
        /// The operating system's error.
        reason: String,
    },
    /// The target did not complete a stage in time.
    #[error(
        "target `{target}`: no answer within {} s while {stage}; check its load and the network, then try again",
        after.as_secs()
    )]
    TimedOut {
        /// The target.
        target: TargetName,
        /// The stage that failed.
        stage: Stage,
        /// The time limit.
        after: Duration,
    },
    /// The target violated the SSH protocol, or speaks another one.
    #[error(
        "target `{target}`: protocol error while {stage} ({reason}); check that `host` and `port` are those \
         of an SSH server"
    )]
    Protocol {
        /// The target.
        target: TargetName,
        /// The stage that failed.
        stage: Stage,
        /// The protocol error.
        reason: String,
    },
    /// The target closed the connection.
    #[error(
        "target `{target}`: it closed the connection while {stage} ({reason}); see its sshd log for the cause \
         (MaxStartups, PerSourcePenalties, access rules, a restart)"
    )]
    Closed {
        /// The target.
        target: TargetName,
        /// The stage that failed.
        stage: Stage,
        /// The server's disconnect message, or how the connection ended.
        reason: String,
    },
    /// The target presented a host key that is not pinned.
    #[error(
        "target `{target}`: its host key is {seen}, but {} is pinned; the connection may be intercepted. If the \
         key was changed on purpose, compare it on the host and update the policy",
        expected.join(" or ")
    )]
    HostKeyChanged {
        /// The target.
        target: TargetName,
        /// The fingerprints that the policy pins.
        expected: Vec<String>,
        /// The fingerprint of the presented key.
        seen: String,
    },
    /// No host key is pinned, and `global.host_key_strict` is set.
    #[error(
        "target `{target}`: no host key is pinned; the target presented {seen}. Compare it on the host, then set \
         `host_key` or `host_key_fingerprint` in the policy"
    )]
    HostKeyUnpinned {
        /// The target.
        target: TargetName,
        /// The fingerprint of the presented key.
        seen: String,
    },
    /// No pinned host key has a supported algorithm, or the presented key is weak.
    #[error(
        "target `{target}`: the host key algorithm {algorithm} is not supported; pin its ssh-ed25519 or ECDSA key"
    )]
    HostKeyUnsupported {
        /// The target.
        target: TargetName,
        /// The algorithm of the key.
        algorithm: String,
    },
    /// The target refused the certificate.
    #[error(
        "target `{target}`: it refused the certificate for account `{account}`{}; check there that \
         TrustedUserCAKeys names this CA, that the account exists and its AuthorizedPrincipalsFile holds \
         the role's principal, that the certificate is not revoked, and that \
         source-address fits",
        if *further { " alone and requires a further login method".to_owned() } else { window.to_string() }
    )]
    CertificateRefused {
        /// The target.
        target: TargetName,
        /// The account.
        account: Account,
        /// Whether the target accepted the certificate but requires another login method as well.
        further: bool,
        /// The certificate's validity, to compare with the target's clock.
        window: ClockWindow,
    },
    /// The login succeeded, but the target did not run the command.
    #[error(
        "target `{target}`: it did not start the command ({reason}); check its sshd log and the account's \
         login shell"
    )]
    CommandRefused {
        /// The target.
        target: TargetName,
        /// The target's answer.
        reason: String,
    },
    /// The signer's reply is not a certificate for our key.
    #[error("the signer's certificate cannot be used: {reason}")]
    BadCertificate {
        /// Why it cannot be used.
        reason: String,
    },
    /// The permit does not cover the operation.
    #[error("the permit for target `{target}` does not cover this: {reason}")]
    NotPermitted {
        /// The target.
        target: TargetName,
        /// Why it does not cover the operation.
        reason: &'static str,
    },
    /// The kernel returned no random bytes.
    #[error("cannot generate a key pair: {reason}")]
    Random {
        /// The operating system's error.
        reason: String,
    },
    /// The SSH client panicked, most likely on malformed input from the target.
    #[error(
        "target `{target}`: Ephyr's SSH client crashed while {stage}, probably on malformed input; report this \
         as a bug and check which server answers there"
    )]
    Crashed {
        /// The target.
        target: TargetName,
        /// The stage that failed.
        stage: Stage,
    },
}

/// A certificate's validity and this host's time. SSH does not report the target's time, so a refusal states
/// the range for comparison with the target's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockWindow {
    /// Start of the certificate's validity.
    pub from: Timestamp,
    /// End of the certificate's validity.
    pub to: Timestamp,
    /// This host's time at login.
    pub now: Timestamp,
}

impl std::fmt::Display for ClockWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to, now } = self;
        let (behind, ahead) = (now.since(*from).as_secs(), to.since(*now).as_secs());
        write!(
            f,
            ". First compare the clocks: `date -u` on the target must show a time from {from} to {to} (-{behind}/+{ahead} s \
             from this host's). If it does"
        )
    }
}

/// The party that has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The target or the network.
    Target,
    /// The operator: the policy and the target's configuration do not match.
    Operator,
    /// Ephyr itself.
    Ephyr,
}

/// A stage of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Resolving the name and connecting by TCP.
    Connect,
    /// Exchanging keys and checking the host key.
    KeyExchange,
    /// Logging in.
    Login,
    /// Starting the command.
    Start,
}

impl SshError {
    /// Returns the party that has to act on the error.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Protocol { .. }
            | Self::Closed { .. }
            | Self::HostKeyChanged { .. }
            | Self::Crashed { .. } => Fault::Target,
            Self::Unresolvable { .. }
            | Self::HostKeyUnpinned { .. }
            | Self::HostKeyUnsupported { .. }
            | Self::CertificateRefused { .. }
            | Self::CommandRefused { .. } => Fault::Operator,
            Self::BadCertificate { .. } | Self::NotPermitted { .. } | Self::Random { .. } => {
                Fault::Ephyr
            }
        }
    }

    /// Returns the stable error code for audit records and replies.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unresolvable { .. } => "target_unresolvable",
            Self::Unreachable { .. } => "target_unreachable",
            Self::TimedOut { .. } => "target_timed_out",
            Self::Protocol { .. } => "target_protocol",
            Self::Closed { .. } => "target_closed",
            Self::HostKeyChanged { .. } => "host_key_changed",
            Self::HostKeyUnpinned { .. } => "host_key_unpinned",
            Self::HostKeyUnsupported { .. } => "host_key_unsupported",
            Self::CertificateRefused { .. } => "certificate_refused",
            Self::CommandRefused { .. } => "command_refused",
            Self::BadCertificate { .. } => "certificate_unusable",
            Self::NotPermitted { .. } => "permit_does_not_cover",
            Self::Random { .. } => "no_random_numbers",
            Self::Crashed { .. } => "ssh_session_failed",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::KeyExchange => "exchanging keys",
            Self::Login => "logging in",
            Self::Start => "starting the command",
        })
    }
}

/// Longest text from a server in an error message, in characters.
const MAX_QUOTED: usize = 160;

/// Truncates text from a server and replaces unprintable characters, for log lines and terminals.
pub(crate) fn quoted(text: &str) -> String {
    let printable = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '.'
        }
    };
    let mut short: String = text.chars().take(MAX_QUOTED).map(printable).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_certificate_names_the_clock_and_its_window_first() {
        let at = Timestamp::from_unix_seconds;
        let refused = |further| SshError::CertificateRefused {
            target: "web".parse().unwrap(),
            account: "agent-read".parse().unwrap(),
            further,
            window: ClockWindow {
                from: at(1_795_500_000 - 30),
                to: at(1_795_500_000 + 60),
                now: at(1_795_500_000),
            },
        };
        let text = refused(false).to_string();
        let clock = text.find("(-30/+60 s").unwrap();
        assert!(clock < text.find("TrustedUserCAKeys").unwrap(), "{text}");
        assert!(text.contains("2026-11-24T"), "{text}");
        // An accepted certificate proves that the clock is right.
        assert!(!refused(true).to_string().contains("clock"));
    }

    #[test]
    fn server_text_is_truncated_and_printable() {
        assert_eq!(quoted("bye\u{1b}[2J\n\u{202e}x"), "bye.[2J..x");
        let flood = quoted(&"a".repeat(1_000_000));
        assert_eq!(flood.len(), MAX_QUOTED + 3);
    }
}
