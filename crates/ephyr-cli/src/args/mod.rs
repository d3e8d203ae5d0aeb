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

/// Use SSH hosts through Ephyr's broker, and look after the broker's policy, log and keys.
#[derive(Debug, Parser)]
#[command(
    name = "ephyr",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Who you are: on the broker's Unix socket your user id says it, and no secret is needed. Over HTTP a \
credential does: a task token in EPHYR_TOKEN, an API key in EPHYR_API_KEY, or either in a file given \
with --credential-file. Credentials are never taken from the command line, where others can see them.\n\n\
Exit status: exec exits as the remote command did. Otherwise 0; 64 the command line is wrong; 65 what \
was given is wrong; 66 a file cannot be read; 69 broker or target is not there; 73 a file cannot be \
made; 74 it broke off and may have taken effect; 75 try again later; 76 the broker is not understood; 77 refused; 79 output is incomplete; 124 the command took too long."
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

/// How the broker is reached.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reaching the broker")]
pub(crate) struct Connection {
    /// The broker's Unix socket [env: EPHYR_SOCKET] [default: /run/ephyr/broker.sock]
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    pub(crate) socket: Option<PathBuf>,

    /// The broker over HTTP, such as http://127.0.0.1:8554 [env: EPHYR_MCP_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// A file with an API key or a task token; - reads it from standard input
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
    /// Run a command on a target and exit as it did
    Exec(Exec),
    /// List the targets you may use
    Targets,
    /// List the certificates that are out for you
    Certs,
    /// Say who the broker takes you for
    Whoami,
    /// Ask the broker how it is
    Health,
    /// Create, look at and revoke tasks
    #[command(subcommand)]
    Task(Task),
    /// Serve MCP on standard input and output, bridged to the broker
    Mcp {
        /// Bind the token's task to a new key that only this process has, and prove with it
        #[arg(long, conflicts_with = "holder_key")]
        bind: bool,
    },
    /// Show what a token says, without checking it
    Inspect(Inspect),
    /// Check and describe policies
    #[command(subcommand)]
    Policy(Policy),
    /// Show the firewall of the agents on this machine
    #[command(subcommand)]
    Nft(Nft),
    /// Make what a target host needs of the policy
    #[command(subcommand)]
    Target(Target),
    /// Check and search the audit log, offline
    #[command(subcommand)]
    Audit(Audit),
    /// Make and show the certificate authority's key
    #[command(subcommand)]
    Ca(Ca),
    /// Print a host's keys as the policy pins them
    HostKey(HostKey),
    /// Make API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Write the systemd units of an appliance
    #[command(subcommand)]
    Units(Units),
    /// Run a command with few files, no network and no way to more
    Sandbox(Sandbox),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Commands that never speak with the broker.
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
    /// Reads this process's arguments.
    ///
    /// # Errors
    /// They are wrong, or help is asked for.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&command_line().try_get_matches()?)
    }
}

/// The command line as it is understood and explained: how the broker is reached is no matter of commands that
/// do not reach for it.
pub(crate) fn command_line() -> clap::Command {
    let mut whole = Args::command();
    // Only then have commands the options that go with every one of them.
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
            // The sandbox has one of its own.
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
    fn the_command_line_is_consistent() {
        command_line().debug_assert();
    }
}
