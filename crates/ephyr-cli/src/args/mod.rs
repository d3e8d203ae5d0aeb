//! The command line.

mod agents;
mod operators;
mod policy;
mod sandbox;

use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use agents::{Exec, Inspect, Task};
pub(crate) use operators::{Audit, Ca, HostKey, Keys, Log, Units};
pub(crate) use policy::{Build, Format, Nft, Policy, Render, Target};
pub(crate) use sandbox::Sandbox;

/// Use SSH hosts through Ephyr's broker, and manage the broker's policy, audit log and keys.
#[derive(Debug, Parser)]
#[command(
    name = "ephyr",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Authentication: on the broker's Unix socket your user id identifies you, and no credential is needed. Over HTTP you \
need a credential: a task token in EPHYR_TOKEN, an API key in EPHYR_API_KEY, or either in a file named by \
--credential-file. There is no option that takes a credential itself, because other users can read the command line.\n\n\
Exit status: `exec` exits with the status of the remote command. Otherwise: 0 success; 64 invalid command line; \
65 invalid input; 66 a file cannot be read; 69 broker, target or program unavailable; 73 a file cannot be created; \
74 the call failed after it may have taken effect; 75 temporary failure, try again later; 76 the broker's response is \
not understood; 77 refused; 79 output is incomplete; 124 the command timed out."
)]
pub(crate) struct Args {
    /// Print JSON, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options for the connection to the broker.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection to the broker")]
pub(crate) struct Connection {
    /// The broker's Unix socket [env: EPHYR_SOCKET] [default: /run/ephyr/broker.sock]
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    pub(crate) socket: Option<PathBuf>,

    /// The broker's URL, such as http://127.0.0.1:8554 [env: EPHYR_MCP_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// A file with an API key or a task token, or - for standard input
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) credential_file: Option<PathBuf>,

    /// The key that the task token is bound to, an OpenSSH Ed25519 private key [env: EPHYR_HOLDER_KEY]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "EPHYR_HOLDER_KEY",
        hide_env = true
    )]
    pub(crate) holder_key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command on a target and exit with its status
    Exec(Exec),
    /// List the targets that you may use
    Targets,
    /// List your valid certificates
    Certs,
    /// Show your identity at the broker
    Whoami,
    /// Show the broker's health
    Health,
    /// Create, show and revoke tasks
    #[command(subcommand)]
    Task(Task),
    /// Serve MCP on standard input and output, bridged to the broker
    Mcp {
        /// Bind the token's task to a new key in the memory of this process
        #[arg(long, conflicts_with = "holder_key")]
        bind: bool,
    },
    /// Show the contents of a token, without verifying it
    Inspect(Inspect),
    /// Validate and build policies
    #[command(subcommand)]
    Policy(Policy),
    /// Render the firewall rules for the agents on this host
    #[command(subcommand)]
    Nft(Nft),
    /// Render the files that a target host needs
    #[command(subcommand)]
    Target(Target),
    /// Verify and search the audit log, offline
    #[command(subcommand)]
    Audit(Audit),
    /// Create and show the certificate authority's key
    #[command(subcommand)]
    Ca(Ca),
    /// Print a host's keys for `host_key` in the policy
    HostKey(HostKey),
    /// Create API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Write the systemd units of an appliance
    #[command(subcommand)]
    Units(Units),
    /// Run a command in a Landlock sandbox, with few files and no network
    Sandbox(Sandbox),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Commands that never connect to the broker.
const OFFLINE: [&str; 10] = [
    "inspect",
    "policy",
    "nft",
    "target",
    "audit",
    "ca",
    "host-key",
    "keys",
    "units",
    "completions",
];

impl Args {
    /// Parses the arguments of this process.
    ///
    /// # Errors
    /// They are invalid, or request help.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&command_line().try_get_matches()?)
    }
}

/// Returns the command line's definition. Commands that never connect to the broker hide the connection options.
pub(crate) fn command_line() -> clap::Command {
    let mut whole = Args::command();
    // Copies the global options into the subcommands, where they can then be hidden.
    whole.build();
    for name in OFFLINE.iter().chain(&["sandbox"]) {
        whole = whole.mut_subcommand(name, without_broker);
    }
    whole
}

fn without_broker(command: clap::Command) -> clap::Command {
    let below: Vec<String> = command
        .get_subcommands()
        .map(|below| below.get_name().to_owned())
        .collect();
    let is_sandbox = command.get_name() == "sandbox";
    let hidden = move |argument: clap::Arg| {
        let hide = match argument.get_id().as_str() {
            "url" | "credential_file" | "holder_key" => true,
            // The sandbox has its own `--socket`.
            "socket" => !is_sandbox,
            _ => false,
        };
        if hide { argument.hide(true) } else { argument }
    };
    below
        .into_iter()
        .fold(command.mut_args(hidden), |command, name| {
            command.mut_subcommand(name, without_broker)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        command_line().debug_assert();
    }
}
