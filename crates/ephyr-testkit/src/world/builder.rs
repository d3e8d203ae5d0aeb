//! Configures and creates a world.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::World;
use super::layout::{find_binary, lay_out, link_programs, make, make_directory, write_ca};
use crate::accounts::{self, Accounts, Footing};
use crate::error::Result;
use crate::keeper::Keeper;
use crate::keys::{ApiKey, CaKey};
use crate::policy::{self, Parts};
use crate::sshd::Sshd;

/// The programs of the workspace in a world's `bin`.
const PROGRAMS: [&str; 3] = ["ephyr-signer", "ephyr-broker", "ephyr"];

/// A change to the policy before the start.
type PolicyEdit = Box<dyn FnOnce(&mut Value, &Accounts)>;

/// The options of a world.
#[derive(Default)]
pub struct Builder {
    edits: Vec<PolicyEdit>,
    pub(super) broker_args: Vec<String>,
    pub(super) signer_args: Vec<String>,
    login_shell: Option<String>,
}

impl Builder {
    /// Changes the policy before anything starts.
    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut Value, &Accounts) + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// Sets the login shell of the accounts, if accounts can be created.
    #[must_use]
    pub fn login_shell(mut self, path: &str) -> Self {
        self.login_shell = Some(path.to_owned());
        self
    }

    /// Adds arguments to every start of the broker.
    #[must_use]
    pub fn broker_args(mut self, args: &[&str]) -> Self {
        self.broker_args
            .extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Adds arguments to every start of the signer.
    #[must_use]
    pub fn signer_args(mut self, args: &[&str]) -> Self {
        self.signer_args
            .extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Creates the world and starts its targets, but neither signer nor broker.
    ///
    /// # Errors
    /// The machine lacks a program or a permission.
    pub fn prepare(mut self) -> Result<World> {
        let footing = Keeper::footing();
        let agents = policy::AGENTS;
        let mut accounts = Accounts::make(footing, &agents, &policy::ROLES.map(|(_, name)| name))?;
        if let Some(shell) = self.login_shell.take() {
            accounts.shell = shell;
        }
        let dir = make_directory()?;
        lay_out(dir.path(), &accounts)?;
        // A missing program is an error only when it is started: a world of targets needs none.
        let programs: Vec<PathBuf> = PROGRAMS
            .iter()
            .filter_map(|name| find_binary(name).ok())
            .collect();
        let keeper = Keeper::start(
            footing,
            dir.path(),
            accounts.get(accounts::BROKER)?,
            &programs,
        )?;
        if footing != Footing::Private {
            link_programs(dir.path(), &programs)?;
        }
        let ca = CaKey::generate("ephyr test CA")?;
        write_ca(dir.path(), &ca, &accounts)?;
        let sshds = start_targets(&keeper, dir.path(), &accounts)?;
        let [scout, worker] = [ApiKey::generate("scout")?, ApiKey::generate("worker")?];
        let parts = Parts {
            accounts: &accounts,
            scout: &scout,
            worker: &worker,
            sshds: &sshds,
        };
        let mut policy = policy::default(&parts)?;
        for edit in self.edits.drain(..) {
            edit(&mut policy, &accounts);
        }
        let world = World {
            broker: None,
            signer: None,
            sshds,
            accounts,
            ca,
            keys: [("scout", scout), ("worker", worker)],
            policy,
            mcp_addr: None,
            starts: 0,
            extra: self,
            keeper,
            dir,
        };
        world.write_policy()?;
        Ok(world)
    }

    /// Creates the world and starts all its processes.
    ///
    /// # Errors
    /// As [`Builder::prepare`], or a daemon does not start; the error includes its log.
    pub fn start(self) -> Result<World> {
        let mut world = self.prepare()?;
        world.start_signer()?;
        world.start_broker()?;
        Ok(world)
    }
}

fn start_targets(
    keeper: &Keeper,
    dir: &Path,
    accounts: &Accounts,
) -> Result<Vec<(&'static str, Sshd)>> {
    let mut sshds = Vec::new();
    for (target, roles) in policy::TARGETS {
        let mut principals = Vec::new();
        for (role, label) in policy::ROLES
            .iter()
            .filter(|(role, _)| roles.contains(role))
        {
            principals.push((accounts.role_account(label)?, format!("{target}/{role}")));
        }
        let home = dir.join(format!("sshd-{target}"));
        make(&home, 0o755, None)?;
        sshds.push((
            target,
            Sshd::start(keeper, &home, &dir.join("ca.pub"), &principals)?,
        ));
    }
    Ok(sshds)
}
