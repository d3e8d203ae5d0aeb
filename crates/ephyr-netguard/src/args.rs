//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use ephyr_render::BrokerListen;

/// Keep the nftables table `inet ephyr` as the policy says: no packet leaves in an agent's name.
#[derive(Debug, Parser)]
#[command(
    name = "ephyr-netguard",
    version,
    after_help = "\
Exit status: 0 the table is as the policy says, 1 it differs (check), 64 wrong options, 69 there is
no nft, 71 nft or the kernel refused, 75 another program changes the table, 76 nft lists what is not
understood, 78 the policy or the kernel does not suffice. Changing and listing tables takes CAP_NET_ADMIN."
)]
pub(crate) struct Args {
    /// The policy
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "EPHYR_POLICY",
        default_value = "/etc/ephyr/policy.yaml"
    )]
    pub(crate) policy: PathBuf,

    /// The program nft; found in PATH and /usr/sbin if left out
    #[arg(long, global = true, value_name = "PATH", env = "EPHYR_NFT")]
    pub(crate) nft: Option<PathBuf>,

    /// Where the broker serves MCP over HTTP, or off
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "EPHYR_MCP_LISTEN",
        default_value = "127.0.0.1:8554"
    )]
    pub(crate) mcp_listen: BrokerListen,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put the policy's table in force, at once and as a whole
    Apply,
    /// Compare the table in force with the policy's and name what differs
    Check,
    /// Say whether the policy can be read and this kernel suffices; change nothing
    Validate,
    /// Apply, and restore the table whenever it is changed; SIGHUP re-reads the policy
    Watch {
        /// Where to say how things are
        #[arg(
            long,
            value_name = "FILE",
            default_value = "/run/ephyr-netguard/status.json"
        )]
        status: PathBuf,
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

    /// The units, the only place where their directives stand.
    const UNITS: &str = include_str!("../../../nixos-module/units.toml");

    /// What the guard's unit says of a directive.
    fn directive(name: &str) -> &'static str {
        let head = "[units.\"ephyr-netguard.service\".Service]\n";
        let (_, section) = UNITS.split_once(head).unwrap();
        let (section, _) = section.split_once("\n[").unwrap();
        let mut values = section
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        values.next().unwrap().trim_matches('"')
    }

    #[test]
    fn its_unit_starts_it_with_what_it_takes_and_lets_it_write_its_status() {
        let words = directive("ExecStart").split_whitespace();
        let args = Args::try_parse_from(words).unwrap();
        assert_eq!(args.policy, PathBuf::from("/etc/ephyr/policy.yaml"));
        let Command::Watch { status } = args.command else {
            panic!("it does not watch");
        };
        let directory = PathBuf::from("/run").join(directive("RuntimeDirectory"));
        assert_eq!(status.parent(), Some(directory.as_path()));
        let words = directive("ExecReload").split_whitespace();
        let check = Args::try_parse_from(words).unwrap();
        assert!(matches!(check.command, Command::Validate));
        assert_eq!(check.policy, args.policy);
        // Netlink to change tables, a Unix socket to tell systemd that it is ready.
        assert_eq!(directive("RestrictAddressFamilies"), "AF_UNIX AF_NETLINK");
        for capabilities in ["CapabilityBoundingSet", "AmbientCapabilities"] {
            assert_eq!(directive(capabilities), "CAP_NET_ADMIN");
        }
    }
}
