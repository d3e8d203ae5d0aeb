//! Subcommands for agents: `exec`, `task`, `inspect`.

use clap::Subcommand;
use ephyr_names::{AgentName, RoleName, TargetName, TaskId, Ttl};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Standard output, standard error and the exit status are those of the remote command. The status is 128 plus the \
signal number if a signal ended the command, and 124 if the timeout did. If the command did not run, the status is \
one that `ephyr --help` lists, such as 77 (refused) or 69 (target unreachable). 74: the target was asked to run the \
command, but its outcome is unknown; it may have run. 79: the command ended, but its output is incomplete (the broker \
keeps 1 MiB each of standard output and standard error) or, with --json, not text.")]
pub(crate) struct Exec {
    /// A target listed by `ephyr targets`
    pub(crate) target: TargetName,

    /// One of the target's roles
    #[arg(long, short)]
    pub(crate) role: RoleName,

    /// Timeout of the command in seconds
    #[arg(long, default_value_t = 30, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) timeout: u64,

    /// Show whether the command would be allowed, without running it
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Accept output that was truncated or, with --json, is not text, instead of exiting with 79
    #[arg(long)]
    pub(crate) lossy: bool,

    /// The command: one word is passed to the remote shell unchanged, several words are quoted first
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Create a task and print its token
    Create {
        /// The purpose of the task, recorded in the audit log
        #[arg(long)]
        description: String,
        /// Lifetime of the task, such as 45m; at most 1h
        #[arg(long, default_value = "30m", allow_hyphen_values = true)]
        ttl: Ttl,
        /// Allow the task to delegate
        #[arg(long)]
        can_delegate: bool,
        /// Print only the token, for EPHYR_TOKEN=$(…)
        #[arg(long, conflicts_with = "json")]
        token_only: bool,
        /// Show whether the task would be created, without creating it
        #[arg(long, conflicts_with = "token_only")]
        dry_run: bool,
    },
    /// Create a child of your token's task and print its token
    Delegate {
        /// The purpose of the child task, recorded in the audit log
        #[arg(long)]
        description: String,
        /// The agent that receives the child task [default: your own]
        #[arg(long)]
        agent: Option<AgentName>,
        /// Lifetime of the child task, limited by its parent's [default: 10m]
        #[arg(long, allow_hyphen_values = true)]
        ttl: Option<Ttl>,
        /// Allow the child task to delegate
        #[arg(long)]
        can_delegate: bool,
        /// Require the child to bind itself to a key within 30 s; until then it can do nothing else
        #[arg(long)]
        must_bind: bool,
        /// A role on a target that the child task keeps (repeatable) [default: all]
        #[arg(long = "keep", value_name = "TARGET:ROLE", value_parser = pair)]
        keep: Vec<(TargetName, RoleName)>,
        /// Print only the token
        #[arg(long, conflicts_with = "json")]
        token_only: bool,
        /// Show what the child task would be allowed, without creating it
        #[arg(long, conflicts_with = "token_only")]
        dry_run: bool,
    },
    /// Bind your token's task to the key in --holder-key and print the token that replaces it
    Bind {
        /// Print only the token
        #[arg(long, conflicts_with = "json")]
        token_only: bool,
    },
    /// Print your tasks as a tree
    Tree,
    /// Show a task
    Info {
        /// The task id [default: your token's task]
        task: Option<TaskId>,
    },
    /// List your tasks
    List,
    /// Revoke a task and all its descendants
    Revoke {
        /// The task id
        task: TaskId,
        /// Show which tasks would be revoked, without revoking them
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
    /// The token, or - for standard input; other users can read the command line [default: EPHYR_TOKEN]
    pub(crate) token: Option<String>,
}
