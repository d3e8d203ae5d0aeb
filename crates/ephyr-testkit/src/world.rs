//! The world: its directory, its keys, its daemons, and the ways to talk to them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::accounts::{self, Account, Accounts, Footing};
use crate::daemon::Daemon;
use crate::error::{Context as _, Error, Result};
use crate::http::Endpoint;
use crate::keeper::Keeper;
use crate::keys::{ApiKey, CaKey};
use crate::mcp::Mcp;
use crate::policy::{self, Parts};
use crate::sshd::Sshd;

/// The programs of the workspace that a world has in its `bin`.
const PROGRAMS: [&str; 3] = ["ephyr-signer", "ephyr-broker", "ephyr"];

/// A change to the policy before the start.
type Edit = Box<dyn FnOnce(&mut Value, &Accounts)>;

/// Says how a world shall be.
#[derive(Default)]
pub struct Builder {
    edits: Vec<Edit>,
    broker_args: Vec<String>,
    signer_args: Vec<String>,
}

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

impl Builder {
    /// Changes the policy before anything starts.
    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut Value, &Accounts) + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// Gives the broker more arguments, on every start.
    #[must_use]
    pub fn broker_args(mut self, args: &[&str]) -> Self {
        self.broker_args
            .extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Gives the signer more arguments, on every start.
    #[must_use]
    pub fn signer_args(mut self, args: &[&str]) -> Self {
        self.signer_args
            .extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Makes the world and starts its targets, but neither signer nor broker.
    ///
    /// # Errors
    /// Something of the machine is missing; the error says what.
    pub fn prepare(mut self) -> Result<World> {
        let footing = Keeper::footing();
        let agents = policy::AGENTS;
        let accounts = Accounts::make(footing, &agents, &policy::ROLES.map(|(_, name)| name))?;
        let dir = make_directory()?;
        lay_out(dir.path(), &accounts)?;
        // What is missing is told when it shall be started: targets alone need none of them.
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

    /// Makes the world and starts everything.
    ///
    /// # Errors
    /// Something of the machine is missing, or a daemon does not start; the error holds its log.
    pub fn start(self) -> Result<World> {
        let mut world = self.prepare()?;
        world.start_signer()?;
        world.start_broker()?;
        Ok(world)
    }
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

    /// Starts the signer and waits until it listens.
    ///
    /// # Errors
    /// It ended or did not become ready; the error holds its log.
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
        let mut daemon = Daemon::spawn("signer", command, &log, self.keeper.roll())?;
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
    /// It ended or did not become ready; the error holds its log.
    pub fn start_broker(&mut self) -> Result<()> {
        find_binary("ephyr-broker")?;
        let mut command = self.command("bin/ephyr-broker", accounts::BROKER)?;
        // After a restart clients find it where it was.
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
            .arg("--data-dir")
            .arg(self.path("data"))
            .arg("--credentials-dir")
            .arg(self.path("credentials"))
            .arg("--ca-pub")
            .arg(self.ca_pub())
            .args(&self.extra.broker_args);
        if let Some(group) = self.socket_group(accounts::AGENTS) {
            command.args(["--socket-group", &group]);
        }
        if self.accounts.footing != Footing::Private {
            // Only the namespace has a tmpfs for it.
            command.arg("--allow-state-on-disk");
        }
        let log = self.next_log("broker");
        let mut daemon = Daemon::spawn("broker", command, &log, self.keeper.roll())?;
        let socket = self.socket();
        let addr = daemon.wait_until("listening", |log| {
            let addr = listening_address(log)?;
            UnixStream::connect(&socket).is_ok().then_some(addr)
        })?;
        self.mcp_addr = Some(addr);
        self.broker = Some(daemon);
        Ok(())
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

    /// The broker's TCP listener.
    ///
    /// # Errors
    /// The broker was not started.
    pub fn tcp(&self) -> Result<Endpoint> {
        self.mcp_addr
            .map(Endpoint::Tcp)
            .ok_or_else(|| Error::new("the broker was not started"))
    }

    /// The broker's socket, connected to under an agent's user id.
    ///
    /// # Errors
    /// There is no such account.
    pub fn unix(&self, agent: &str) -> Result<Endpoint> {
        Ok(Endpoint::Unix(
            self.socket(),
            Some(self.accounts.get(agent)?.clone()),
        ))
    }

    /// An MCP client over TCP with an agent's API key.
    ///
    /// # Errors
    /// The agent has none, or the broker was not started.
    pub fn mcp_with_key(&self, agent: &str) -> Result<Mcp> {
        Ok(Mcp::new(self.tcp()?, Some(self.api_key(agent)?)))
    }

    /// An MCP client over TCP with a task token.
    ///
    /// # Errors
    /// The broker was not started.
    pub fn mcp_with_token(&self, token: &str) -> Result<Mcp> {
        Ok(Mcp::new(self.tcp()?, Some(token)))
    }

    /// An MCP client over the broker's socket, named by its user id.
    ///
    /// # Errors
    /// There is no such account.
    pub fn mcp_by_uid(&self, agent: &str) -> Result<Mcp> {
        Ok(Mcp::new(self.unix(agent)?, None))
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

    /// The world's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The broker's Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("broker-run/broker.sock")
    }

    /// The signer's Unix socket.
    #[must_use]
    pub fn signer_socket(&self) -> PathBuf {
        self.path("signer-run/signer.sock")
    }

    /// The audit log.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.path("audit/audit.log")
    }

    /// The CA's public key.
    #[must_use]
    pub fn ca_pub(&self) -> PathBuf {
        self.path("ca.pub")
    }

    /// The policy file.
    #[must_use]
    pub fn policy_path(&self) -> PathBuf {
        self.path("policy/policy.yaml")
    }

    /// The broker's state directory, seen from outside the world's namespace.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.keeper.inside(&self.path("state"))
    }

    /// A group as the daemons are told it: by name where names exist.
    fn socket_group(&self, label: &str) -> Option<String> {
        let id = self.accounts.group(label)?;
        let named = self.accounts.footing == Footing::Private;
        Some(if named {
            label.to_owned()
        } else {
            id.to_string()
        })
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// JSON is YAML, so the file has its usual name. Replaced by rename, as operators do.
    fn write_policy(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.policy).context(|| "the policy".into())?;
        let new = self.path("policy/policy.yaml.new");
        fs::write(&new, text + "\n").context(|| format!("writing {}", new.display()))?;
        fs::rename(&new, self.policy_path()).context(|| "replacing the policy".into())
    }

    fn next_log(&mut self, name: &str) -> PathBuf {
        self.starts += 1;
        self.path(&format!("log/{name}.{}.log", self.starts))
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

/// `listening mcp=127.0.0.1:PORT`, the broker's word that it is ready.
fn listening_address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("listening mcp=")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// A temporary directory that other users can pass through, on a path short enough for sockets.
fn make_directory() -> Result<TempDir> {
    let usual = std::env::temp_dir();
    let passable = usual
        .ancestors()
        .all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0));
    // The namespace may cover /run, and a socket's path has 107 bytes at most.
    let fits = passable && !usual.starts_with("/run") && usual.as_os_str().len() < 60;
    let base = if fits { usual } else { PathBuf::from("/tmp") };
    let dir = tempfile::Builder::new()
        .prefix("ephyr-")
        .tempdir_in(&base)
        .context(|| format!("making a directory in {}", base.display()))?;
    set_mode(dir.path(), 0o755)?;
    Ok(dir)
}

/// Makes the directories, each its owner's.
fn lay_out(dir: &Path, accounts: &Accounts) -> Result<()> {
    for (name, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("policy", 0o755),
        ("log", 0o755),
    ] {
        make(&dir.join(name), mode, None)?;
    }
    make(&dir.join("home"), 0o755, None)?;
    let signer = accounts.get(accounts::SIGNER)?;
    let broker = accounts.get(accounts::BROKER)?;
    let with_group = |account: &Account, group: &str| {
        Some((account.uid, accounts.group(group).unwrap_or(account.gid)))
    };
    let own = |account: &Account| Some((account.uid, account.gid));
    make(&dir.join("signer"), 0o700, own(signer))?;
    make(
        &dir.join("signer-run"),
        0o750,
        with_group(signer, accounts::SIGNER_CLIENTS),
    )?;
    make(
        &dir.join("broker-run"),
        0o750,
        with_group(broker, accounts::AGENTS),
    )?;
    for name in ["state", "data", "audit", "credentials"] {
        make(&dir.join(name), 0o700, own(broker))?;
    }
    if accounts.footing == Footing::Plain {
        return Ok(());
    }
    for user in accounts.users() {
        make(&dir.join("home").join(&user.name), 0o755, own(user))?;
    }
    for (file, text) in accounts.files(&dir.join("home").to_string_lossy())? {
        let path = dir.join("etc").join(file);
        fs::write(&path, text).context(|| format!("writing {}", path.display()))?;
        set_mode(&path, if file == "shadow" { 0o600 } else { 0o644 })?;
    }
    Ok(())
}

fn make(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    fs::create_dir(path).context(|| format!("making {}", path.display()))?;
    set_mode(path, mode)?;
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid)).context(|| format!("giving away {}", path.display()))?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .context(|| format!("setting the mode of {}", path.display()))
}

/// Copies (or links, where nobody else needs to read) the programs to where worlds have them.
fn link_programs(dir: &Path, programs: &[PathBuf]) -> Result<()> {
    for program in programs {
        let place = dir
            .join("bin")
            .join(program.file_name().unwrap_or_default());
        if rustix::process::geteuid().is_root() {
            fs::copy(program, &place).map(drop)
        } else {
            std::os::unix::fs::symlink(program, &place)
        }
        .context(|| format!("placing {}", place.display()))?;
    }
    Ok(())
}

fn write_ca(dir: &Path, ca: &CaKey, accounts: &Accounts) -> Result<()> {
    let key = dir.join("signer/ca_key");
    ca.write(&key)?;
    let signer = accounts.get(accounts::SIGNER)?;
    chown(&key, Some(signer.uid), Some(signer.gid)).context(|| "giving away the CA key".into())?;
    let public = dir.join("ca.pub");
    fs::write(&public, ca.public_line()? + "\n").context(|| "writing ca.pub".into())
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

/// Finds a program of the workspace: in `EPHYR_BIN_DIR`, or beside the running one (tests lie in
/// `deps` below it).
fn find_binary(name: &str) -> Result<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("EPHYR_BIN_DIR")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    let own = std::env::current_exe().context(|| "finding this program".into())?;
    places.extend(own.ancestors().skip(1).take(2).map(Path::to_owned));
    places
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(format!(
                "no {name} beside {}; build it first: cargo build --profile ci --bins",
                own.display()
            ))
        })
}
