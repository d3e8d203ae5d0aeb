//! Everything that happens once: the configuration is complete, the sandbox closed and the journal open
//! before the first connection is accepted.

use std::fs;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ephyr_chain::{ChainOpenError, ChainWriteError};
use ephyr_policy::{MAX_POLICY_BYTES, Policy};
use ephyr_sandbox::{
    Accounts, Activated, Confinement, Feature, Filter, LandlockReport, MemoryLock, Metadata,
    Notifier, SandboxError, Signals, Step, User, lock_memory, open_regular, open_socket,
    read_at_most, require_abi, set_non_dumpable, steps_to,
};
use ephyr_signer_ipc::SandboxReport;

use crate::args::Options;
use crate::journal::{Journal, LONG};
use crate::key::{CaKey, KeyError};
use crate::log;
use crate::server::{Server, clocks};
use crate::service::{Service, random};

/// The name of the socket that systemd passes.
const SOCKET_NAME: &str = "signer";

/// What `st_mode` has where only a file's owner may replace it (S_IFDIR, S_ISVTX).
const STICKY_DIRECTORY: u32 = 0o041_000;

const SHARED_USER: &str = "the broker runs as the signer's own user, so whoever breaks into it can read \
                           the CA key: give the signer a user of its own";

const UNPINNED: &str = "started without --ca-pub, so whatever key the file holds is taken for the CA's: name the \
                        file with the CA's public key";

/// Why the signer does not serve. All of it is the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The sandbox, a socket, a name.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The journal.
    #[error("the journal of what is issued: {0}; `--journal` names another file")]
    Journal(#[from] ChainOpenError),
    /// The journal's first entry.
    #[error(transparent)]
    Write(#[from] ChainWriteError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The event loop.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Why a policy is not used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {path}: {why}; `--policy` names another file")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        why: io::Error,
    },
    /// Whoever writes it decides what is signed.
    #[error(
        "{path}, on the path to the policy, can be written by {who}, who could grant itself anything: make root its \
         owner and set mode 0644 for a file, 0755 for a directory"
    )]
    Writable {
        /// The file.
        path: PathBuf,
        /// By whom.
        who: &'static str,
    },
    /// It demands more than this kernel has.
    #[error("the policy {path}: {why}")]
    Sandbox {
        /// The file.
        path: PathBuf,
        /// What is missing.
        why: SandboxError,
    },
    /// It has errors; each was logged.
    #[error("the policy {path} has {count} errors")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

/// Where the policy comes from.
#[derive(Debug)]
pub(crate) struct PolicySource {
    path: PathBuf,
    broker_uid: u32,
    broker_gid: Option<u32>,
    own_uid: u32,
}

/// Says whether a reload would take the policy, by all that a reload asks for.
pub(crate) fn check(policy: &Path, broker_user: &str) -> Result<(), StartError> {
    let broker = Accounts::read()?.user(broker_user)?;
    let source = PolicySource::new(policy, &broker);
    let landlock = confine(policy, 0)?;
    source.load_for(landlock.abi)?;
    Ok(())
}

/// Prepares everything and closes the sandbox.
pub(crate) fn prepare(options: &Options) -> Result<Server, StartError> {
    set_non_dumpable()?;
    let accounts = Accounts::read()?;
    let broker = accounts.user(&options.broker_user)?;
    let source = PolicySource::new(&options.policy, &broker);
    if source.broker_uid == source.own_uid {
        log::warning(SHARED_USER);
    }
    let policy = source.load()?;
    let ca = CaKey::load(&options.ca_key)?;
    match &options.ca_pub {
        Some(list) => ca.check_listed(list)?,
        None => log::warning(UNPINNED),
    }
    let (journal, found) = Journal::open(&options.journal, clocks().time, LONG)?;
    if found.torn {
        log::warning("the journal's last line was unfinished and is put aside in a file beside it");
    }
    if let Some(warning) = &found.warning {
        log::warning(warning);
    }
    if let Some(aside) = &found.set_aside {
        log::info(&format!(
            "the journal had grown long; what came before is in {}",
            aside.display()
        ));
    }
    let listener = listen(options, &accounts)?;
    listener.set_nonblocking(true)?;
    let notifier = Notifier::from_env()?;
    let signals = Signals::install()?;
    let locked = lock_memory();
    if let MemoryLock::Refused(why) = &locked {
        log::warning(&format!(
            "memory is not locked, so the CA key could reach swap: {why}"
        ));
    }
    let landlock = confine(&source.path, policy.sandbox().minimum_abi)?;
    // Better not to serve than to refuse each request.
    random::<32>()?;
    let report = report(&landlock, &locked);
    log::info(&format!(
        "CA {}, policy {}, broker {} ({}), {} journal entries, Landlock ABI {} ({}), seccomp, memory {}",
        ca.fingerprint(),
        policy.hash(),
        broker.name,
        broker.uid,
        found.entries,
        report.landlock_abi,
        report.landlock.join(" "),
        if report.memory_locked {
            "locked"
        } else {
            "not locked"
        },
    ));
    let now = clocks();
    let mut service = Service::new(ca, policy, journal, report, now)?;
    service.commit(now)?;
    Ok(Server::new(listener, signals, notifier, service, source))
}

fn listen(options: &Options, accounts: &Accounts) -> Result<UnixListener, StartError> {
    if let Some(listener) = Activated::from_env().unix(SOCKET_NAME)? {
        return Ok(listener);
    }
    let group = options.socket_group.as_deref();
    let group = group.map(|name| accounts.group(name)).transpose()?;
    Ok(open_socket(&options.socket, group)?)
}

/// From here on: the policy's directory can be read, and the Nix store that it may link to; the open
/// journal, socket and pipes go on; nothing else.
fn confine(policy: &Path, minimum_abi: u32) -> Result<LandlockReport, StartError> {
    let mut confinement = Confinement::new(minimum_abi).read_if_present("/nix/store");
    let resolved = fs::canonicalize(policy).map_err(|why| PolicyError::Io {
        path: policy.to_owned(),
        why,
    })?;
    for path in [policy, &resolved] {
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        confinement = confinement.read(directory.unwrap_or(Path::new(".")));
    }
    let report = confinement.apply()?;
    if !report.enforced.contains(&Feature::Files) {
        log::warning(
            "this kernel has no Landlock: only the system call filter confines the signer",
        );
    }
    Filter::Signer.apply()?;
    Ok(report)
}

fn report(landlock: &LandlockReport, locked: &MemoryLock) -> SandboxReport {
    let enforced = landlock.enforced.iter();
    SandboxReport {
        landlock_abi: landlock.abi,
        landlock: enforced
            .map(|feature| feature.as_str().to_owned())
            .collect(),
        seccomp: true,
        memory_locked: locked.is_locked(),
        non_dumpable: true,
    }
}

impl PolicySource {
    fn new(path: &Path, broker: &User) -> Self {
        Self {
            path: path.to_owned(),
            broker_uid: broker.uid,
            broker_gid: broker.gid,
            own_uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// The user who asks for certificates.
    pub(crate) fn broker_uid(&self) -> u32 {
        self.broker_uid
    }

    /// As [`load`](Self::load), for a process that is confined already, by this Landlock ABI.
    pub(crate) fn load_for(&self, landlock_abi: u32) -> Result<Policy, PolicyError> {
        let policy = self.load()?;
        match require_abi(landlock_abi, policy.sandbox().minimum_abi) {
            Ok(()) => Ok(policy),
            Err(why) => Err(PolicyError::Sandbox {
                path: self.path.clone(),
                why,
            }),
        }
    }

    /// Reads and compiles the policy; what is wrong with it goes to stderr, a line each.
    pub(crate) fn load(&self) -> Result<Policy, PolicyError> {
        let bytes = self.read()?;
        match ephyr_policy::load(&bytes, &self.path.display().to_string()) {
            Ok(policy) => {
                for finding in policy.warnings() {
                    log::warning(&finding.to_string());
                }
                Ok(policy)
            }
            Err(findings) => {
                for finding in &findings {
                    log::error(&finding.to_string());
                }
                Err(PolicyError::Invalid {
                    path: self.path.clone(),
                    count: findings.as_slice().len(),
                })
            }
        }
    }

    fn read(&self) -> Result<Vec<u8>, PolicyError> {
        let io = |why| PolicyError::Io {
            path: self.path.clone(),
            why,
        };
        let file = open_regular(&self.path).map_err(io)?;
        // Every directory on the path, also of a link's target: a user who can write one can substitute the file.
        let steps = steps_to(&self.path).map_err(io)?;
        for step in &steps {
            self.check_writers(step)?;
        }
        // Ensures that the checked path leads to the opened file and not to a later one of the same
        // name.
        let found = Metadata::of(&file).map_err(io)?;
        if steps.last().map(|last| last.metadata.id) != Some(found.id) {
            return Err(io(io::Error::other(
                "it was replaced while being read; reload again",
            )));
        }
        read_at_most(&file, MAX_POLICY_BYTES).map_err(io)
    }

    fn check_writers(&self, step: &Step) -> Result<(), PolicyError> {
        let Metadata { mode, uid, gid, .. } = step.metadata;
        let writer = if step.metadata.is_link() {
            self.replacer(uid)
        } else {
            self.writer(uid, gid, mode)
        };
        match writer {
            None => Ok(()),
            Some(who) => Err(PolicyError::Writable {
                path: step.path.clone(),
                who,
            }),
        }
    }

    /// A link's mode is meaningless; its owner can replace it even in a directory with the sticky
    /// bit.
    fn replacer(&self, owner: u32) -> Option<&'static str> {
        let is_other = self.broker_uid != self.own_uid && self.broker_uid != 0;
        (is_other && owner == self.broker_uid).then_some("the broker")
    }

    /// Who can write what has this owner, group and mode, though it must not. In a directory with the sticky
    /// bit nobody replaces what is another's.
    fn writer(&self, owner: u32, group: u32, mode: u32) -> Option<&'static str> {
        let sticky = mode & STICKY_DIRECTORY == STICKY_DIRECTORY;
        if mode & 0o002 != 0 && !sticky {
            Some("everyone")
        } else if self.broker_uid == self.own_uid || self.broker_uid == 0 {
            None
        } else if owner == self.broker_uid {
            Some("the broker")
        } else if mode & 0o020 != 0 && !sticky && self.broker_gid == Some(group) {
            Some("the broker's group")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use super::*;

    fn broker() -> User {
        User {
            name: "broker".into(),
            uid: 990,
            gid: Some(991),
        }
    }

    #[test]
    fn whoever_could_write_the_policy_for_the_broker_is_named() {
        let source = PolicySource::new(Path::new("policy.yaml"), &broker());
        for (owner, group, mode, who) in [
            (0, 0, 0o644, None),
            (0, 0, 0o666, Some("everyone")),
            (0, 0, 0o101_666, Some("everyone")),
            (0, 0, 0o040_757, Some("everyone")),
            (0, 991, 0o664, Some("the broker's group")),
            (0, 991, 0o644, None),
            (0, 5, 0o664, None),
            (990, 0, 0o444, Some("the broker")),
            (990, 0, 0o041_755, Some("the broker")),
            (0, 0, 0o041_777, None),
            (0, 991, 0o041_775, None),
        ] {
            assert_eq!(source.writer(owner, group, mode), who, "{mode:o}");
        }
        assert_eq!(source.replacer(0), None);
        assert_eq!(source.replacer(990), Some("the broker"));
    }

    #[test]
    fn directories_behind_the_policys_links_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["etc", "links", "store"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(
            at("store/policy.yaml"),
            "agents: { scout: { uid: 1501 } }\n",
        )
        .unwrap();
        symlink("../links/policy.yaml", at("etc/policy.yaml")).unwrap();
        symlink(at("store/policy.yaml"), at("links/policy.yaml")).unwrap();
        let path = at("etc/policy.yaml");
        let source = PolicySource::new(&path, &broker());
        assert!(source.load().is_ok());
        let mode = |name: &str, mode| {
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        for name in ["etc", "links", "store", "."] {
            mode(name, 0o777);
            let error = source.load().unwrap_err().to_string();
            assert!(error.contains("can be written by everyone"), "{error}");
            let named = at(name).canonicalize().unwrap();
            assert!(
                error.contains(&format!("{}, on", named.display())),
                "{error}"
            );
            // Sticky, like /tmp: others than the owner cannot replace its files.
            mode(name, 0o1777);
            assert!(source.load().is_ok(), "{name}");
            mode(name, 0o755);
        }
        if !rustix::process::geteuid().is_root() {
            return ephyr_testkit::skip("needs files of a second user, which only root can make");
        }
        for name in ["links", "store", "etc/policy.yaml", "links/policy.yaml"] {
            lchown(at(name), Some(990), None).unwrap();
            let error = source.load().unwrap_err().to_string();
            assert!(
                error.contains("can be written by the broker"),
                "{name}: {error}"
            );
            lchown(at(name), Some(0), None).unwrap();
        }
        assert!(source.load().is_ok());
    }

    #[test]
    fn a_policy_that_demands_more_of_landlock_than_is_in_force_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.yaml");
        let text = "agents: { scout: { uid: 1501 } }\nsandbox: { minimum_abi: 7 }\n";
        fs::write(&path, text).unwrap();
        let source = PolicySource::new(&path, &broker());
        let error = source.load_for(6).unwrap_err().to_string();
        assert!(
            error.contains("policy.yaml") && error.contains("7 is demanded"),
            "{error}"
        );
        assert!(source.load_for(7).is_ok());
    }
}
