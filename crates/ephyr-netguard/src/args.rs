//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use ephyr_render::BrokerListen;

/// Keep the nftables table `inet ephyr`, which rejects packets of agents, as the policy defines it.
#[derive(Debug, Parser)]
#[command(
    name = "ephyr-netguard",
    version,
    after_help = "\
Exit status: 0 the table matches the policy, 1 it differs (check), 64 wrong options, 69 nft not
found, 71 nft or the kernel failed, 75 another program changes the table, 76 the output of nft cannot
be parsed, 78 invalid policy or Landlock ABI too old. Changing and listing tables requires CAP_NET_ADMIN."
)]
pub(crate) struct Args {
    /// The policy file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "EPHYR_POLICY",
        default_value = "/etc/ephyr/policy.yaml"
    )]
    pub(crate) policy: PathBuf,

    /// The nft program [default: searched in PATH, then /usr/sbin]
    #[arg(long, global = true, value_name = "PATH", env = "EPHYR_NFT")]
    pub(crate) nft: Option<PathBuf>,

    /// The address at which the broker serves MCP over HTTP, or off
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
    /// Put the policy's table in force in one transaction
    Apply,
    /// Compare the table in force with the policy's and list the differences
    Check,
    /// Check that the policy is valid and the kernel supports it; change nothing
    Validate,
    /// Apply, and restore the table whenever it is changed; SIGHUP reloads the policy
    Watch {
        /// The status file to write
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

    /// The definitions of all units.
    const UNITS: &str = include_str!("../../../nixos-module/units.toml");

    /// Returns the value of a directive in the guard's unit.
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
    fn unit_has_valid_arguments_and_the_status_directory() {
        let words = directive("ExecStart").split_whitespace();
        let args = Args::try_parse_from(words).unwrap();
        assert_eq!(args.policy, PathBuf::from("/etc/ephyr/policy.yaml"));
        let Command::Watch { status } = args.command else {
            panic!("ExecStart does not watch");
        };
        let directory = PathBuf::from("/run").join(directive("RuntimeDirectory"));
        assert_eq!(status.parent(), Some(directory.as_path()));
        let words = directive("ExecReload").split_whitespace();
        let check = Args::try_parse_from(words).unwrap();
        assert!(matches!(check.command, Command::Validate));
        assert_eq!(check.policy, args.policy);
        // Netlink to change tables, a Unix socket to notify systemd.
        assert_eq!(directive("RestrictAddressFamilies"), "AF_UNIX AF_NETLINK");
        for capabilities in ["CapabilityBoundingSet", "AmbientCapabilities"] {
            assert_eq!(directive(capabilities), "CAP_NET_ADMIN");
        }
    }
}
