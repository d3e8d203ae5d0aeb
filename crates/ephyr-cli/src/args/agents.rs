//! What agents type: commands, tasks, tokens.

use clap::Subcommand;
use ephyr_names::{AgentName, RoleName, TargetName, TaskId, Ttl};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Standard output and error are the remote command's, and so is the exit status; 128 and the signal's \
number when a signal ended it, 124 when the timeout did. When the command did not run, the status is \
one of those that `ephyr --help` lists: 77 refused, 69 the target cannot be reached. 74: the command was \
given to the target and how it ended is not known; it may have run. 79: the command ended, but its output \
is incomplete (the broker keeps 1 MiB each of output and errors) or, with --json, not text.")]
pub(crate) struct Exec {
    /// The target, as `ephyr targets` lists it
    pub(crate) target: TargetName,

    /// One of the target's roles
    #[arg(long, short)]
    pub(crate) role: RoleName,

    /// Seconds after which the command is ended
    #[arg(long, default_value_t = 30, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) timeout: u64,

    /// Only ask whether it would be allowed
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Accept output that was truncated or, with --json, is not text, instead of exiting with 79
    #[arg(long)]
    pub(crate) lossy: bool,

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
        #[arg(long, default_value = "30m", allow_hyphen_values = true)]
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
        #[arg(long, allow_hyphen_values = true)]
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
