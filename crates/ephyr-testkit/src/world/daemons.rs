//! Starts the signer and the broker.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::World;
use super::layout::find_binary;
use crate::accounts::{self, Footing};
use crate::daemon::Daemon;
use crate::error::Result;

impl World {
    /// Starts the signer and waits until it listens.
    ///
    /// # Errors
    /// The process ended or did not become ready; the error includes its log.
    pub fn start_signer(&mut self) -> Result<()> {
        find_binary("ephyr-signer")?;
        let broker = self.accounts.get(accounts::BROKER)?;
        let broker_user = if self.accounts.footing == Footing::Private {
            broker.name.clone()
        } else {
            broker.uid.to_string()
        };
        let mut command = self.command("bin/ephyr-signer", accounts::SIGNER)?;
        command
            .arg("--policy")
            .arg(self.policy_path())
            .arg("--socket")
            .arg(self.signer_socket())
            .arg("--ca-key")
            .arg(self.path("signer/ca_key"))
            .args(["--broker-user", &broker_user])
            .arg("--journal")
            .arg(self.path("signer/journal"))
            .args(&self.extra.signer_args);
        if let Some(group) = self.socket_group(accounts::SIGNER_CLIENTS) {
            command.args(["--socket-group", &group]);
        }
        let log = self.next_log("signer");
        let mut daemon = Daemon::spawn("signer", command, &log, self.keeper.processes())?;
        let socket = self.signer_socket();
        daemon.wait_until("listening", |_| {
            UnixStream::connect(&socket).is_ok().then_some(())
        })?;
        self.signer = Some(daemon);
        Ok(())
    }

    /// Starts the broker and waits until it listens.
    ///
    /// # Errors
    /// The process ended or did not become ready; the error includes its log.
    pub fn start_broker(&mut self) -> Result<()> {
        find_binary("ephyr-broker")?;
        let mut command = self.command("bin/ephyr-broker", accounts::BROKER)?;
        // As in the unit (nixos-module/units.toml).
        command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
        // Keep the address across a restart, so that clients can reconnect.
        let listen = self
            .mcp_addr
            .map_or("127.0.0.1:0".to_owned(), |addr| addr.to_string());
        command
            .arg("--policy")
            .arg(self.policy_path())
            .arg("--socket")
            .arg(self.socket())
            .arg("--signer-socket")
            .arg(self.signer_socket())
            .args(["--mcp-listen", &listen])
            .arg("--audit-log")
            .arg(self.audit_log())
            .arg("--state-dir")
            .arg(self.path("state"))
            .arg("--credentials-dir")
            .arg(self.path("credentials"))
            .arg("--ca-pub")
            .arg(self.ca_pub())
            .args(&self.extra.broker_args);
        if let Some(group) = self.socket_group(accounts::AGENTS) {
            command.args(["--socket-group", &group]);
        }
        if self.accounts.footing != Footing::Private {
            // Only the private namespace has a tmpfs for the state.
            command.arg("--allow-state-on-disk");
        }
        let log = self.next_log("broker");
        let mut daemon = Daemon::spawn("broker", command, &log, self.keeper.processes())?;
        let socket = self.socket();
        let addr = daemon.wait_until("listening", |log| {
            let addr = listening_address(log)?;
            UnixStream::connect(&socket).is_ok().then_some(addr)
        })?;
        self.mcp_addr = Some(addr);
        self.broker = Some(daemon);
        Ok(())
    }

    /// The group argument for a daemon: a name if `/etc/group` has it, otherwise a number.
    fn socket_group(&self, label: &str) -> Option<String> {
        let id = self.accounts.group(label)?;
        let named = self.accounts.footing == Footing::Private;
        Some(if named {
            label.to_owned()
        } else {
            id.to_string()
        })
    }

    fn next_log(&mut self, name: &str) -> PathBuf {
        self.starts += 1;
        self.path(&format!("log/{name}.{}.log", self.starts))
    }
}

/// Parses the address in `listening mcp=127.0.0.1:PORT`, the broker's readiness line.
fn listening_address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("listening mcp=")?;
    rest.split_whitespace().next()?.parse().ok()
}
