//! Subcommands for operators: `audit`, `ca`, `host-key`, `keys`, `units`.

use std::path::PathBuf;

use clap::Subcommand;
use ephyr_names::{AgentName, TaskId, Timestamp};

/// The option that names the audit log.
#[derive(Debug, clap::Args)]
pub(crate) struct Log {
    /// The audit log; its rotated files are read from the same directory
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
    /// Verify that no record was changed, removed or forged
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
        /// A checkpoint that was stored elsewhere, one JSON value (repeatable)
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// Accept that the oldest files are missing
        #[arg(long)]
        partial: bool,
    },
    /// Print records, oldest first, without verifying them
    Query {
        #[command(flatten)]
        log: Log,
        /// Only records of this task and its descendants, each indented by its depth
        #[arg(long)]
        task: Option<TaskId>,
        /// Only records of this agent
        #[arg(long)]
        agent: Option<AgentName>,
        /// Only records of this event, such as exec_attempt (repeatable)
        #[arg(long)]
        event: Vec<String>,
        /// Only records of at least this severity: info, warn, error or alert
        #[arg(long)]
        severity: Option<String>,
        /// Only records at or after this time, such as 2026-11-24T06:00:00Z
        #[arg(long)]
        since: Option<Timestamp>,
        /// Only records before this time
        #[arg(long)]
        until: Option<Timestamp>,
    },
    /// Verify a receipt and show its record
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
    /// Create a CA key (Ed25519, mode 0600) and print its public key; never replaces a file
    Init {
        /// The file for the private key
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The comment of the public key
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
    /// The host, with its port unless that is 22
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Create an API key for an agent, and its hash for the policy
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
An agent without a command gets a user and no unit. docs/install.md describes the installation of the files.")]
    Render {
        /// The directory, such as /etc; files go to its subdirectories systemd/system, sysusers.d and tmpfiles.d
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The host's settings, or - for standard input
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
}
