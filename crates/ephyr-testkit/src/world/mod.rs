//! A world: its directory, keys, daemons and clients.

mod builder;
mod clients;
mod daemons;
mod layout;
mod paths;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

pub use builder::Builder;

use crate::accounts::{Account, Accounts};
use crate::daemon::Daemon;
use crate::error::{Context as _, Error, Result};
use crate::keeper::Keeper;
use crate::keys::{ApiKey, CaKey};
use crate::sshd::Sshd;

/// A running Ephyr installation with two targets. Dropping it ends its processes and removes its files.
///
/// The fields are in drop order: daemons, then the keeper, then the directory.
pub struct World {
    broker: Option<Daemon>,
    signer: Option<Daemon>,
    sshds: Vec<(&'static str, Sshd)>,
    accounts: Accounts,
    ca: CaKey,
    keys: [(&'static str, ApiKey); 2],
    policy: Value,
    mcp_addr: Option<SocketAddr>,
    starts: u32,
    extra: Builder,
    keeper: Keeper,
    dir: TempDir,
}

impl World {
    /// Returns the options of a world, with their defaults.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a world with the default options.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// The signer's process.
    ///
    /// # Errors
    /// The process was not started.
    pub fn signer(&mut self) -> Result<&mut Daemon> {
        self.signer
            .as_mut()
            .ok_or_else(|| Error::new("the signer was not started"))
    }

    /// The broker's process.
    ///
    /// # Errors
    /// The process was not started.
    pub fn broker(&mut self) -> Result<&mut Daemon> {
        self.broker
            .as_mut()
            .ok_or_else(|| Error::new("the broker was not started"))
    }

    /// The SSH server of a target.
    ///
    /// # Errors
    /// The target does not exist.
    pub fn target(&mut self, name: &str) -> Result<&mut Sshd> {
        self.sshds
            .iter_mut()
            .find(|(target, _)| *target == name)
            .map(|(_, sshd)| sshd)
            .ok_or_else(|| Error::new(format!("the world has no target {name:?}")))
    }

    /// The users and groups of the world.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The certificate authority's key.
    #[must_use]
    pub fn ca(&self) -> &CaKey {
        &self.ca
    }

    /// The policy, as last written to the file.
    #[must_use]
    pub fn policy(&self) -> &Value {
        &self.policy
    }

    /// Replaces the policy file with a changed policy. [`World::reload`] puts it into force.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn change_policy(&mut self, edit: impl FnOnce(&mut Value)) -> Result<()> {
        edit(&mut self.policy);
        self.write_policy()
    }

    /// Sends SIGHUP to the signer, then to the broker, so that they reload the policy.
    ///
    /// # Errors
    /// One of them is not running.
    pub fn reload(&mut self) -> Result<()> {
        self.signer()?.signal(Signal::HUP)?;
        self.broker()?.signal(Signal::HUP)
    }

    /// An agent's API key.
    ///
    /// # Errors
    /// The agent has no API key.
    pub fn api_key(&self, agent: &str) -> Result<&str> {
        self.keys
            .iter()
            .find(|(name, _)| *name == agent)
            .map(|(_, key)| key.key.as_str())
            .ok_or_else(|| Error::new(format!("agent {agent:?} has no API key here")))
    }

    /// A command for a program of the world (`bin/ephyr`) or an absolute path, run as this account.
    ///
    /// # Errors
    /// The account does not exist.
    pub fn command(&self, program: impl AsRef<Path>, account: &str) -> Result<Command> {
        let account: &Account = self.accounts.get(account)?;
        Ok(self
            .keeper
            .command(&self.dir.path().join(program), Some(account)))
    }

    /// A command that runs as the test's own user in the world's namespace.
    #[must_use]
    pub fn own_command(&self, program: impl AsRef<Path>) -> Command {
        self.keeper.command(&self.dir.path().join(program), None)
    }

    /// Writes the policy as JSON, which is valid YAML, and replaces the file atomically by rename.
    fn write_policy(&self) -> Result<()> {
        let text =
            serde_json::to_string_pretty(&self.policy).context(|| "encoding the policy".into())?;
        let new = self.path("policy/policy.yaml.new");
        fs::write(&new, text + "\n").context(|| format!("writing {}", new.display()))?;
        fs::rename(&new, self.policy_path()).context(|| "replacing the policy".into())
    }

    fn print_logs(&self) {
        let daemons = [&self.signer, &self.broker].into_iter().flatten();
        let logs = daemons.map(Daemon::log_path).map(Path::to_owned);
        let sshd = self
            .sshds
            .iter()
            .map(|(name, _)| self.path(&format!("sshd-{name}/sshd.log")));
        for path in logs.chain(sshd) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            print_line(&format!("--- {} ---\n{tail}", path.display()));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a failed test shows the logs of its daemons"
)]
fn print_line(text: &str) {
    eprintln!("{text}");
}
