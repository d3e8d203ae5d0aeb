//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use ephyr_names::{AgentName, RoleName, TargetName, TaskId, Timestamp, Ttl};
use ephyr_policy::{Authority, BrokerListen};

/// Use SSH hosts through Ephyr's broker, and look after the broker's policy, log and keys.
#[derive(Debug, Parser)]
#[command(
    name = "ephyr",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Who you are: on the broker's Unix socket your user id says it, and no secret is needed. Over HTTP a
credential does: a task token in EPHYR_TOKEN, an API key in EPHYR_API_KEY, or either in a file given
with --credential-file. Credentials are never taken from the command line, where others can see them.

Exit status: exec exits as the remote command did. Otherwise 0; 64 the command line is wrong; 65 what
was given is wrong; 66 a file cannot be read; 69 broker or target is not there; 73 a file cannot be
made; 74 it broke off and may have taken effect; 75 try again later; 76 the broker is not understood; 77 refused; 124 the command took too long."
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

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Standard output and error are the remote command's, and so is the exit status; 128 and the signal's
number when a signal ended it, 124 when the timeout did. When the command did not run, the status is
one of those that `ephyr --help` lists: 77 refused, 69 the target cannot be reached. 74: the command was
given to the target and how it ended is not known; it may have run.")]
pub(crate) struct Exec {
    /// The target, as `ephyr targets` lists it
    pub(crate) target: TargetName,

    /// One of the target's roles
    #[arg(long, short)]
    pub(crate) role: RoleName,

    /// Seconds after which the command is ended
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) timeout: u64,

    /// Only ask whether it would be allowed
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// The command; several words are quoted for the remote shell, a single one is taken as it is
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Create a task and print its token
    Create {
        /// What the task is for; it stands in the audit log
        #[arg(long)]
        description: String,
        /// How long it lives, such as 45m; at most 1h
        #[arg(long, default_value = "30m")]
        ttl: Ttl,
        /// Let the task have children
        #[arg(long)]
        can_delegate: bool,
        /// Print the token alone, for EPHYR_TOKEN=$(…)
        #[arg(long, conflicts_with = "json")]
        token_only: bool,
        /// Ask whether it would be made, and make nothing
        #[arg(long, conflicts_with = "token_only")]
        dry_run: bool,
    },
    /// Make a task below your token's own and print its token
    Delegate {
        /// What the child is for; it stands in the audit log
        #[arg(long)]
        description: String,
        /// The agent whose it is; your own if left out
        #[arg(long)]
        agent: Option<AgentName>,
        /// How long it lives, at most as long as its parent [default: 10m]
        #[arg(long)]
        ttl: Option<Ttl>,
        /// Let the child have children
        #[arg(long)]
        can_delegate: bool,
        /// The child must bind itself to a key within 30 s, and can do nothing before
        #[arg(long)]
        must_bind: bool,
        /// A role on a target that the child keeps, TARGET:ROLE (repeatable); all if left out
        #[arg(long = "keep", value_name = "TARGET:ROLE", value_parser = pair)]
        keep: Vec<(TargetName, RoleName)>,
        /// Print the token alone
        #[arg(long, conflicts_with = "json")]
        token_only: bool,
        /// Show what the child would be allowed, and make nothing
        #[arg(long, conflicts_with = "token_only")]
        dry_run: bool,
    },
    /// Bind your token's task to the key in --holder-key and print the token from then on
    Bind {
        /// Print the token alone
        #[arg(long, conflicts_with = "json")]
        token_only: bool,
    },
    /// Draw your tasks as a tree
    Tree,
    /// Show a task; without an id the one of your token
    Info {
        /// The task
        task: Option<TaskId>,
    },
    /// List your tasks
    List,
    /// Revoke a task and all below it
    Revoke {
        /// The task
        task: TaskId,
        /// Show which tasks would fall, and revoke nothing
        #[arg(long)]
        dry_run: bool,
    },
}

fn pair(text: &str) -> Result<(TargetName, RoleName), String> {
    let (target, role) = text
        .split_once(':')
        .ok_or("write TARGET:ROLE, such as web:read")?;
    let text = |error: ephyr_names::NameError| error.to_string();
    Ok((target.parse().map_err(text)?, role.parse().map_err(text)?))
}

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// The token (others can see it on the command line), or - for standard input; EPHYR_TOKEN otherwise
    pub(crate) token: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check a policy: exit status 0, 1 with warnings, 2 with errors
    Validate {
        /// The policy, YAML or JSON
        #[arg(env = "EPHYR_POLICY", default_value = "/etc/ephyr/policy.yaml")]
        file: PathBuf,
    },
    /// Check a policy and write it with all that is made of it
    Build(Build),
    /// Print the JSON Schema of policies, for editors
    Schema,
    /// Print the policy's hash, as audit records name it
    Hash {
        /// The policy
        #[arg(env = "EPHYR_POLICY", default_value = "/etc/ephyr/policy.yaml")]
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
DIR gets policy.yaml, the file as it is; nft/ephyr.nft, the agents' firewall; and targets/NAME.json for each
target, as `ephyr target render --format json` makes it. Exit status as of `ephyr policy validate`: 0; 1 when
there are warnings, and DIR is made; 2 when there are errors, and it is not.")]
pub(crate) struct Build {
    /// The policy, YAML or JSON
    pub(crate) file: PathBuf,

    /// Where to write: a directory that does not exist yet
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// The CA's public keys, one a line, for the targets' files; without it they have no ca.pub
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_pub: Option<PathBuf>,

    /// The appliance's name on its targets
    #[arg(long, value_name = "NAME", default_value = "ephyr", value_parser = crate::target::authority)]
    pub(crate) authority: Authority,

    /// Where the broker serves MCP over HTTP, or off
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "EPHYR_MCP_LISTEN",
        default_value = "127.0.0.1:8554"
    )]
    pub(crate) mcp_listen: BrokerListen,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Nft {
    /// Print the nftables ruleset of a policy, for `nft -f`; ephyr-netguard applies and watches it
    Render {
        /// The policy
        #[arg(
            long,
            value_name = "FILE",
            env = "EPHYR_POLICY",
            default_value = "/etc/ephyr/policy.yaml"
        )]
        policy: PathBuf,
        /// Print what the policy adds to the rules alone
        #[arg(long)]
        definitions: bool,
        /// Where the broker serves MCP over HTTP, or off
        #[arg(
            long,
            value_name = "ADDRESS",
            env = "EPHYR_MCP_LISTEN",
            default_value = "127.0.0.1:8554"
        )]
        mcp_listen: BrokerListen,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Landlock does it, in the kernel: the command and all that it starts can never get out. It may read and run what is
below /usr, /bin, /sbin, /lib*, /nix/store and /etc, use /dev/null and its like, and nothing else but what the
options name. Files that are open already (standard input, output and error) stay open. User ids and modes hold as ever.
Many programs want --ro /proc, which shows whatever processes its mount shows; a sandbox in a sandbox needs it.

How far it goes depends on the kernel (--verbose says it): files from Linux 5.13 on, TCP from 6.7 (ABI 4), signals to
and abstract sockets of processes outside from 6.12 (ABI 6). UDP and other protocols are left alone below ABI 10.
Connecting to Unix sockets that have a path is left alone below ABI 9: there --socket changes nothing, and the command
reaches every socket that its user may. Where that matters, hide them by a mount namespace, as the agents' units do.

The command takes this process's place, so its exit status is the command's. Otherwise: 126 the command cannot be
run, 127 it is not there, 64 the command line is wrong, 66 a path is not there, 69 the kernel enforces too little.")]
pub(crate) struct Sandbox {
    /// A file or directory to read, and run programs from (repeatable); one that is not there is passed over
    #[arg(long, value_name = "PATH")]
    pub(crate) ro: Vec<PathBuf>,

    /// A file or directory to use in full: read, write, make, remove, run (repeatable)
    #[arg(long, value_name = "PATH")]
    pub(crate) rw: Vec<PathBuf>,

    /// A Unix socket to connect to, or a directory of such (repeatable). A socket made anew is another one: name
    /// its directory
    // By this name, not the one that is the broker's for every other command.
    #[arg(id = "socket", long, value_name = "PATH")]
    pub(crate) sockets: Vec<PathBuf>,

    /// A TCP port to connect to, on any address (repeatable)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connect: Vec<u16>,

    /// The least Landlock ABI to run the command with
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) minimum_abi: u32,

    /// Say on standard error what the kernel enforces
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Target {
    /// Make accounts, sshd's and sudo's files for one target
    Render(Render),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
debian: --out DIR gets install.sh, uninstall.sh and the files; copy DIR to the target and run install.sh there
as root. It can be run again, changes nothing for other accounts, and puts all back if sshd would not accept it.
json: the accounts and the files, on standard output or in DIR/NAME.json.")]
pub(crate) struct Render {
    /// The target, as the policy names it
    pub(crate) name: TargetName,

    /// The policy
    #[arg(
        long,
        value_name = "FILE",
        env = "EPHYR_POLICY",
        default_value = "/etc/ephyr/policy.yaml"
    )]
    pub(crate) policy: PathBuf,

    /// The CA's public keys, one a line
    #[arg(long, value_name = "FILE", env = "EPHYR_CA_PUB")]
    pub(crate) ca_pub: PathBuf,

    /// Which form
    #[arg(long, value_enum)]
    pub(crate) format: Format,

    /// The appliance's name on the target, where several appliances use it
    #[arg(long, value_name = "NAME", default_value = "ephyr", value_parser = crate::target::authority)]
    pub(crate) authority: Authority,

    /// Where to write: a directory that does not exist yet
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A directory with an install.sh
    Debian,
    /// One JSON value, for other tools
    Json,
}

/// The log that is meant, and the key that vouches for it.
#[derive(Debug, clap::Args)]
pub(crate) struct Log {
    /// The audit log; its rotated files are found beside it
    #[arg(
        long,
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
        #[arg(long, env = "EPHYR_CA_PUB", default_value = "/etc/ephyr/ca.pub")]
        ca_pub: PathBuf,
        /// A checkpoint that was kept elsewhere, one JSON value (repeatable)
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// Accept that the oldest files are missing
        #[arg(long)]
        partial: bool,
    },
    /// Print records, oldest first
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
        #[arg(long, env = "EPHYR_CA_PUB", default_value = "/etc/ephyr/ca.pub")]
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
    #[arg(long, value_name = "HOST[:PORT]")]
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
Settings, JSON, all optional: {\"package\": \"/usr\", \"nft\": \"/usr/sbin/nft\", \"ca_key\": {\"file\":
\"/etc/ephyr/ca_key\", \"encrypted\": false}, \"credentials\": {NAME: {\"file\": …}}, \"readable\": [\"/usr\", …],
\"agents\": {NAME: {\"uid\": 1501, \"user\": …, \"command\": [WORD…], \"egress\": [{\"cidr\": …}]}}}.
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
