//! What can go wrong on the way to a command's end, who is to act on it, and how.

use std::time::Duration;

use ephyr_names::{Account, TargetName, Timestamp};

/// Why there is no result. The text names the target, says what happened and what to do; key material and
/// the command are never in it, and what the server said is cut short and made printable.
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
        /// What the resolver said.
        reason: String,
    },
    /// No TCP connection.
    #[error(
        "target `{target}`: cannot connect to {address} ({reason}); check that it is up, that sshd listens \
         there and that no firewall is between"
    )]
    Unreachable {
        /// The target.
        target: TargetName,
        /// Host and port.
        address: String,
        /// What the kernel said.
        reason: String,
    },
    /// The target did not get through a stage in time.
    #[error(
        "target `{target}`: no answer within {} s while {stage}; check its load and the network, then try again",
        after.as_secs()
    )]
    TimedOut {
        /// The target.
        target: TargetName,
        /// What was being done.
        stage: Stage,
        /// How long was waited.
        after: Duration,
    },
    /// The target broke the SSH protocol, or speaks another one.
    #[error(
        "target `{target}`: not understood while {stage} ({reason}); check that `host` and `port` are those \
         of an SSH server"
    )]
    Protocol {
        /// The target.
        target: TargetName,
        /// What was being done.
        stage: Stage,
        /// What was wrong.
        reason: String,
    },
    /// The target closed the connection.
    #[error(
        "target `{target}`: it closed the connection while {stage} ({reason}); its sshd log says why \
         (MaxStartups, PerSourcePenalties, access rules, a restart)"
    )]
    Closed {
        /// The target.
        target: TargetName,
        /// What was being done.
        stage: Stage,
        /// What it said, or how the connection ended.
        reason: String,
    },
    /// The target showed a host key that is not the pinned one.
    #[error(
        "target `{target}`: its host key is {seen}, but {} is pinned; somebody may be in between. If the key \
         was changed on purpose, compare it on the host and change the policy",
        expected.join(" or ")
    )]
    HostKeyChanged {
        /// The target.
        target: TargetName,
        /// The fingerprints that the policy pins.
        expected: Vec<String>,
        /// The fingerprint of the key that was shown.
        seen: String,
    },
    /// No host key is pinned, and host keys are strict.
    #[error(
        "target `{target}`: no host key is pinned; it showed {seen}. Compare that on the host, then set \
         `host_key` or `host_key_fingerprint` in the policy"
    )]
    HostKeyUnpinned {
        /// The target.
        target: TargetName,
        /// The fingerprint of the key that was shown.
        seen: String,
    },
    /// The pinned host keys are all of kinds that are not spoken here.
    #[error(
        "target `{target}`: host keys of kind {algorithm} are not supported; pin its ssh-ed25519 or ECDSA key"
    )]
    HostKeyUnsupported {
        /// The target.
        target: TargetName,
        /// The kind of the pinned keys.
        algorithm: String,
    },
    /// The target does not accept the certificate.
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
        /// Whether the target took the certificate, but wants another login method on top.
        further: bool,
        /// The valid range for the target's clock.
        window: ClockWindow,
    },
    /// The target logged us in, but did not run the command.
    #[error(
        "target `{target}`: it did not start the command ({reason}); look into its sshd log and at the \
         account's login shell"
    )]
    CommandRefused {
        /// The target.
        target: TargetName,
        /// What it answered.
        reason: String,
    },
    /// The signer's answer is no certificate for our key.
    #[error("the signer's certificate cannot be used: {reason}")]
    BadCertificate {
        /// What is wrong with it.
        reason: String,
    },
    /// The permit does not cover what was asked for.
    #[error("the permit for target `{target}` does not cover this: {reason}")]
    NotPermitted {
        /// The target.
        target: TargetName,
        /// What it does not cover.
        reason: &'static str,
    },
    /// The kernel gave no random numbers.
    #[error("no new key: {reason}")]
    Random {
        /// What the kernel said.
        reason: String,
    },
    /// The SSH session failed in our own code, most likely over something hostile that the target sent.
    #[error(
        "target `{target}`: our SSH session failed while {stage}, over something it sent; report this, and \
         look at what answers there"
    )]
    Crashed {
        /// The target.
        target: TargetName,
        /// What was being done.
        stage: Stage,
    },
}

/// The range of target times in which a certificate is valid. SSH does not report the target's time, so a
/// refusal states this range for comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockWindow {
    /// When the certificate begins to be valid.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// This host's time at the login.
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

/// Who is to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The target or the way to it.
    Target,
    /// The operator: policy and target do not fit together.
    Operator,
    /// Ephyr itself.
    Ephyr,
}

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Connecting by TCP.
    Connect,
    /// Exchanging keys.
    KeyExchange,
    /// Logging in.
    Login,
    /// Starting the command.
    Start,
}

impl SshError {
    /// Who is to act on it.
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

    /// A short name for it that does not change, for audit records and answers.
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

/// Longest piece of a server's own words that goes into an error, in characters.
const MAX_QUOTED: usize = 160;

/// What a server said, fit for a log line and a terminal.
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
    fn a_refused_certificate_names_the_clock_first_with_its_window() {
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
    fn what_a_server_says_can_neither_flood_nor_steer_a_terminal() {
        assert_eq!(quoted("bye\u{1b}[2J\n\u{202e}x"), "bye.[2J..x");
        let flood = quoted(&"a".repeat(1_000_000));
        assert_eq!(flood.len(), MAX_QUOTED + 3);
    }
}
