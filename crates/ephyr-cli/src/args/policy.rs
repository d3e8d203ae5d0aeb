//! The policy and what is made of it.

use std::path::PathBuf;

use clap::Subcommand;
use ephyr_names::TargetName;
use ephyr_render::{AuthorityName, BrokerListen};

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check a policy: exit status 0, 1 with warnings, 2 with errors
    Validate {
        /// The policy, YAML or JSON; - reads it from standard input
        #[arg(
            hide_env_values = true,
            env = "EPHYR_POLICY",
            default_value = "/etc/ephyr/policy.yaml"
        )]
        file: PathBuf,
        /// Also list the programs in `commands` patterns that the compiler's table does not contain
        #[arg(long, short)]
        verbose: bool,
    },
    /// Check a policy and write it with all that is made of it
    Build(Build),
    /// Print the JSON Schema of policies, for editors
    Schema,
    /// Print the policy's hash, as audit records name it
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
DIR gets policy.yaml, the file as it is; nft/ephyr.nft, the agents' firewall; and targets/NAME.json for each \
target, as `ephyr target render --format json` makes it. Exit status as of `ephyr policy validate`: 0; 1 when \
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
    #[arg(long, value_name = "NAME", default_value = "ephyr", value_parser = authority)]
    pub(crate) authority: AuthorityName,

    /// Where the broker serves MCP over HTTP, or off
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
    /// Print the nftables ruleset of a policy, for `nft -f`; ephyr-netguard applies and watches it
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
        /// Print what the policy adds to the rules alone
        #[arg(long)]
        definitions: bool,
        /// Where the broker serves MCP over HTTP, or off
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
    /// Make accounts, sshd's and sudo's files for one target
    Render(Render),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
debian: --out DIR gets install.sh, uninstall.sh and the files; copy DIR to the target and run install.sh there \
as root. It can be run again, changes nothing for other accounts, and puts all back if sshd would not accept it.\n\
json: the accounts and the files, on standard output or in DIR/NAME.json.")]
pub(crate) struct Render {
    /// The target, as the policy names it
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

    /// The CA's public keys, one a line
    #[arg(
        long,
        value_name = "FILE",
        hide_env_values = true,
        env = "EPHYR_CA_PUB"
    )]
    pub(crate) ca_pub: PathBuf,

    /// Which form
    #[arg(long, value_enum)]
    pub(crate) format: Format,

    /// The appliance's name on the target, where several appliances use it
    #[arg(long, value_name = "NAME", default_value = "ephyr", value_parser = authority)]
    pub(crate) authority: AuthorityName,

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

/// Parses the appliance's name on its targets.
fn authority(text: &str) -> Result<AuthorityName, String> {
    text.parse()
        .map_err(|error: ephyr_render::AuthorityNameError| error.to_string())
}
