//! Subcommands for the policy and the files that are built from it: `policy`, `nft`, `target`.

use std::path::PathBuf;

use clap::Subcommand;
use ephyr_names::TargetName;
use ephyr_render::{AuthorityName, BrokerListen};

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Validate a policy: exit status 0, 1 with warnings, 2 with errors
    Validate {
        /// The policy, YAML or JSON, or - for standard input
        #[arg(
            hide_env_values = true,
            env = "EPHYR_POLICY",
            default_value = "/etc/ephyr/policy.yaml"
        )]
        file: PathBuf,
        /// Also list the programs in `commands` patterns that Ephyr's table of programs lacks
        #[arg(long, short)]
        verbose: bool,
    },
    /// Validate a policy and write it with all files that are built from it
    Build(Build),
    /// Print the JSON Schema of policies, for editors
    Schema,
    /// Print the policy's hash, as in audit records
    Hash {
        /// The policy
        #[arg(
            hide_env_values = true,
            env = "EPHYR_POLICY",
            default_value = "/etc/ephyr/policy.yaml"
        )]
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
DIR gets policy.yaml, an exact copy; nft/ephyr.nft, the agents' firewall; and targets/NAME.json for each target, as \
from `ephyr target render --format json`. Exit status as for `ephyr policy validate`: 0; 1 with warnings, and DIR is \
created; 2 with errors, and it is not.")]
pub(crate) struct Build {
    /// The policy, YAML or JSON
    pub(crate) file: PathBuf,

    /// The directory to create
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// The CA's public keys, one per line; without this option the targets' files lack ca.pub
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_pub: Option<PathBuf>,

    /// The appliance's name on its targets
    #[arg(long, value_name = "NAME", default_value = "ephyr", value_parser = authority)]
    pub(crate) authority: AuthorityName,

    /// The address where the broker serves MCP over HTTP, or off
    #[arg(
        long,
        value_name = "ADDRESS",
        hide_env_values = true,
        env = "EPHYR_MCP_LISTEN",
        default_value = "127.0.0.1:8554"
    )]
    pub(crate) mcp_listen: BrokerListen,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Nft {
    /// Print the nftables ruleset of a policy, for `nft -f`; ephyr-netguard applies and monitors it
    Render {
        /// The policy
        #[arg(
            long,
            value_name = "FILE",
            hide_env_values = true,
            env = "EPHYR_POLICY",
            default_value = "/etc/ephyr/policy.yaml"
        )]
        policy: PathBuf,
        /// Print only the definitions that the policy adds to the rules
        #[arg(long)]
        definitions: bool,
        /// The address where the broker serves MCP over HTTP, or off
        #[arg(
            long,
            value_name = "ADDRESS",
            hide_env_values = true,
            env = "EPHYR_MCP_LISTEN",
            default_value = "127.0.0.1:8554"
        )]
        mcp_listen: BrokerListen,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Target {
    /// Render the accounts and the files of sshd and sudo for one target
    Render(Render),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
debian: --out DIR gets install.sh, uninstall.sh and the files; copy DIR to the target and run install.sh there \
as root. It can be run again, changes nothing for other accounts, and restores everything if sshd rejects the result.\n\
json: the accounts and the files, on standard output or in DIR/NAME.json.")]
pub(crate) struct Render {
    /// The target's name in the policy
    pub(crate) name: TargetName,

    /// The policy
    #[arg(
        long,
        value_name = "FILE",
        hide_env_values = true,
        env = "EPHYR_POLICY",
        default_value = "/etc/ephyr/policy.yaml"
    )]
    pub(crate) policy: PathBuf,

    /// The CA's public keys, one per line
    #[arg(
        long,
        value_name = "FILE",
        hide_env_values = true,
        env = "EPHYR_CA_PUB"
    )]
    pub(crate) ca_pub: PathBuf,

    /// The output format
    #[arg(long, value_enum)]
    pub(crate) format: Format,

    /// The appliance's name on the target, if several appliances use it
    #[arg(long, value_name = "NAME", default_value = "ephyr", value_parser = authority)]
    pub(crate) authority: AuthorityName,

    /// The directory to create
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

/// Parses the appliance's name on its targets.
fn authority(text: &str) -> Result<AuthorityName, String> {
    text.parse()
        .map_err(|error: ephyr_render::AuthorityNameError| error.to_string())
}
