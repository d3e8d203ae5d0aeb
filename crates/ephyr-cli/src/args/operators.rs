//! What operators type besides: the log, keys, units.

use std::path::PathBuf;

use clap::Subcommand;
use ephyr_names::{AgentName, TaskId, Timestamp};

/// The log that is meant, and the key that vouches for it.
#[derive(Debug, clap::Args)]
pub(crate) struct Log {
    /// The audit log; its rotated files are found beside it
    #[arg(
        long,
        hide_env_values = true,
        env = "EPHYR_AUDIT_LOG",
        default_value = "/var/log/ephyr/audit.jsonl"
    )]
    pub(crate) log: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check that nothing was changed, removed or forged
    Verify {
        #[command(flatten)]
        log: Log,
        /// The CA's public key
        #[arg(
            long,
            hide_env_values = true,
            env = "EPHYR_CA_PUB",
            default_value = "/etc/ephyr/ca.pub"
        )]
        ca_pub: PathBuf,
        /// A checkpoint that was kept elsewhere, one JSON value (repeatable)
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// Accept that the oldest files are missing
        #[arg(long)]
        partial: bool,
    },
    /// Print records, oldest first, as they stand in the log; `verify` tells whether they are genuine
    Query {
        #[command(flatten)]
        log: Log,
        /// Of this task and all below it, each indented by its depth
        #[arg(long)]
        task: Option<TaskId>,
        /// Of this agent
        #[arg(long)]
        agent: Option<AgentName>,
        /// Of this event, such as exec_attempt (repeatable)
        #[arg(long)]
        event: Vec<String>,
        /// At least this grave: info, warn, error or alert
        #[arg(long)]
        severity: Option<String>,
        /// At or after this time, such as 2026-11-24T06:00:00Z
        #[arg(long)]
        since: Option<Timestamp>,
        /// Before this time
        #[arg(long)]
        until: Option<Timestamp>,
    },
    /// Check a receipt and show the record that it vouches for
    Receipt {
        /// The receipt (rcpt_…), or - for standard input
        receipt: String,
        #[command(flatten)]
        log: Log,
        /// The CA's public key
        #[arg(
            long,
            hide_env_values = true,
            env = "EPHYR_CA_PUB",
            default_value = "/etc/ephyr/ca.pub"
        )]
        ca_pub: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Make a CA key (Ed25519, mode 0600) and print its public half; never replaces a file
    Init {
        /// Where to write the private key
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// A comment for the public key
        #[arg(long, default_value = "ephyr CA")]
        comment: String,
    },
    /// Print the public key of a key file, private or public
    Show {
        /// The key file
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct HostKey {
    /// The host, with its port if that is not 22
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make an API key for an agent and the hash of it for the policy
    New {
        /// The agent
        agent: AgentName,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Units {
    /// Write unit files, users (sysusers.d) and directories (tmpfiles.d), for systems without Nix
    #[command(after_help = "\
Settings, JSON, all optional: {\"package\": \"/usr\", \"nft\": \"/usr/sbin/nft\", \"systemctl\": \"/usr/bin/systemctl\", \"ca_key\": {\"file\": \
\"/etc/ephyr/ca_key\", \"encrypted\": false}, \"credentials\": {NAME: {\"file\": …}}, \"readable\": [\"/usr\", …], \
\"agents\": {NAME: {\"uid\": 1501, \"user\": …, \"command\": [WORD…], \"egress\": [{\"cidr\": …}]}}}. \
An agent without a command gets a user and no unit. docs/install.md says what to do with the files.")]
    Render {
        /// The directory, such as /etc: files go to systemd/system, sysusers.d and tmpfiles.d in it
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// What differs from host to host; - reads it from standard input
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
}
