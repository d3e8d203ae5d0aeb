//! The broker's command line, with an environment variable for each option.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use ephyr_mcp::Origin;

/// Authenticates callers, decides on their actions by the policy, and executes them.
#[derive(Debug, Clone, Parser)]
#[command(name = "ephyr-broker", version)]
pub struct Config {
    /// The policy file.
    #[arg(long, env = "EPHYR_POLICY", default_value = "/etc/ephyr/policy.yaml")]
    pub policy: PathBuf,

    /// The Unix socket for agents of this host (replaced by systemd's socket named `broker`, if it passes one).
    #[arg(long, env = "EPHYR_SOCKET", default_value = "/run/ephyr/broker.sock")]
    pub socket: PathBuf,

    /// The group that may connect to the Unix socket.
    #[arg(long, env = "EPHYR_SOCKET_GROUP")]
    pub socket_group: Option<String>,

    /// The signer's socket.
    #[arg(
        long,
        env = "EPHYR_SIGNER_SOCKET",
        default_value = "/run/ephyr-signer/signer.sock"
    )]
    pub signer_socket: PathBuf,

    /// Where to serve MCP over HTTP: a loopback address with port, or `off`.
    #[arg(long, env = "EPHYR_MCP_LISTEN", default_value = "127.0.0.1:8554")]
    pub mcp_listen: Listen,

    /// Web origins whose pages may call MCP over HTTP, such as https://console.example (repeatable), besides the
    /// listener's own.
    #[arg(long = "mcp-origin", env = "EPHYR_MCP_ORIGINS", value_delimiter = ',')]
    pub mcp_origins: Vec<Origin>,

    /// The audit log.
    #[arg(
        long,
        env = "EPHYR_AUDIT_LOG",
        default_value = "/var/log/ephyr/audit.jsonl"
    )]
    pub audit_log: PathBuf,

    /// Rotate the audit log beyond this many bytes.
    #[arg(long, env = "EPHYR_AUDIT_MAX_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub audit_max_bytes: u64,

    /// Directory of the state journal. It holds the token secret, so it must be on tmpfs.
    #[arg(long, env = "EPHYR_STATE_DIR", default_value = "/run/ephyr-broker")]
    pub state_dir: PathBuf,

    /// Accept a state directory that is not on tmpfs, although the token secret then reaches the disk.
    #[arg(long, env = "EPHYR_ALLOW_STATE_ON_DISK")]
    pub allow_state_on_disk: bool,

    /// Directory of credentials, one file each (systemd sets `$CREDENTIALS_DIRECTORY`).
    #[arg(long, env = "CREDENTIALS_DIRECTORY")]
    pub credentials_dir: Option<PathBuf>,

    /// The CA public keys, one a line; the signer must have one of them. Without it, the key that the signer reports is
    /// trusted.
    #[arg(long, env = "EPHYR_CA_PUB")]
    pub ca_pub: Option<PathBuf>,

    /// Check whether a reload would put the policy in force, credentials aside, and exit: 0, or 78 with the reasons.
    #[arg(long)]
    pub check: bool,
}

/// Where to listen over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// On this loopback address; without TLS no other is allowed.
    On(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address: SocketAddr = text
            .parse()
            .map_err(|_| format!("{text:?} is neither ADDRESS:PORT nor off"))?;
        if !address.ip().is_loopback() {
            return Err(format!(
                "{address} is not a loopback address; MCP is served without TLS and so only there: \
                 use 127.0.0.1 or [::1], and a tunnel from other machines"
            ));
        }
        Ok(Self::On(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_web_origins_are_refused() {
        let parse = |origin| Config::try_parse_from(["ephyr-broker", "--mcp-origin", origin]);
        let config = parse("https://Console.example:443,http://localhost:3000").unwrap();
        let origins: Vec<_> = config.mcp_origins.iter().map(Origin::as_str).collect();
        assert_eq!(
            origins,
            ["https://console.example", "http://localhost:3000"]
        );
        for bad in ["*", "null", "https://console.example/", "console.example"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("not a web origin"), "{bad}: {error}");
        }
    }

    #[test]
    fn only_loopback_addresses_are_accepted() {
        assert_eq!("off".parse::<Listen>(), Ok(Listen::Off));
        assert!(matches!("127.0.0.1:8554".parse(), Ok(Listen::On(_))));
        assert!(matches!("[::1]:0".parse(), Ok(Listen::On(_))));
        for bad in [
            "0.0.0.0:8554",
            "192.0.2.1:1",
            "[::]:8554",
            "localhost:8554",
            "",
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }
}
