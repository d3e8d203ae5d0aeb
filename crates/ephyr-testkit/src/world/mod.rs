//! The world: its directory, its keys, its daemons, and the ways to talk to them.

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

/// A running Ephyr with two targets. Dropping it ends every process of it and removes its files.
///
/// The fields are in the order in which they must go: daemons, then the keeper, then the directory.
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
    /// Says how a world shall be, other than as it is by default.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a world as it is by default.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// The signer's process.
    ///
    /// # Errors
    /// It was not started.
    pub fn signer(&mut self) -> Result<&mut Daemon> {
        self.signer
            .as_mut()
            .ok_or_else(|| Error::new("the signer was not started"))
    }

    /// The broker's process.
    ///
    /// # Errors
    /// It was not started.
    pub fn broker(&mut self) -> Result<&mut Daemon> {
        self.broker
            .as_mut()
            .ok_or_else(|| Error::new("the broker was not started"))
    }

    /// A target's server.
    ///
    /// # Errors
    /// There is no such target.
    pub fn target(&mut self, name: &str) -> Result<&mut Sshd> {
        self.sshds
            .iter_mut()
            .find(|(target, _)| *target == name)
            .map(|(_, sshd)| sshd)
            .ok_or_else(|| Error::new(format!("the world has no target {name:?}")))
    }

    /// Who is who.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The certificate authority's key.
    #[must_use]
    pub fn ca(&self) -> &CaKey {
        &self.ca
    }

    /// The policy as it was last written.
    #[must_use]
    pub fn policy(&self) -> &Value {
        &self.policy
    }

    /// Writes a changed policy in the place of the old one. [`World::reload`] makes it known.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn change_policy(&mut self, edit: impl FnOnce(&mut Value)) -> Result<()> {
        edit(&mut self.policy);
        self.write_policy()
    }

    /// Asks signer and broker, in this order, to read the policy again.
    ///
    /// # Errors
    /// One of them does not run.
    pub fn reload(&mut self) -> Result<()> {
        self.signer()?.signal(Signal::HUP)?;
        self.broker()?.signal(Signal::HUP)
    }

    /// An agent's API key.
    ///
    /// # Errors
    /// This agent has none.
    pub fn api_key(&self, agent: &str) -> Result<&str> {
        self.keys
            .iter()
            .find(|(name, _)| *name == agent)
            .map(|(_, key)| key.key.as_str())
            .ok_or_else(|| Error::new(format!("agent {agent:?} has no API key here")))
    }

    /// A program of the world (`bin/ephyr`, or any absolute path) that will run as this account.
    ///
    /// # Errors
    /// There is no such account.
    pub fn command(&self, program: impl AsRef<Path>, account: &str) -> Result<Command> {
        let account: &Account = self.accounts.get(account)?;
        Ok(self
            .keeper
            .command(&self.dir.path().join(program), Some(account)))
    }

    /// A program that will run as the test's own user, in the world's namespace.
    #[must_use]
    pub fn own_command(&self, program: impl AsRef<Path>) -> Command {
        self.keeper.command(&self.dir.path().join(program), None)
    }

    /// JSON is YAML, so the file has its usual name. Replaced by rename, as operators do.
    fn write_policy(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.policy).context(|| "the policy".into())?;
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
            say(&format!("--- {} ---\n{tail}", path.display()));
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
    reason = "a failed test shows what the daemons said"
)]
fn say(text: &str) {
    eprintln!("{text}");
}
