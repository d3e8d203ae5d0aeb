//! Reads the policy from a file that only trusted users can replace.

use std::io;
use std::path::{Path, PathBuf};

use ephyr_policy::{MAX_POLICY_BYTES, Policy};
use ephyr_sandbox::{
    Metadata, SandboxError, Step, User, open_regular, read_at_most, require_abi, steps_to,
};

use ephyr_sandbox::log;

/// Bits of `st_mode` of a directory in which only a file's owner may replace it (S_IFDIR, S_ISVTX).
const STICKY_DIRECTORY: u32 = 0o041_000;

/// The policy was refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {path}: {why}; `--policy` names another file")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        why: io::Error,
    },
    /// An untrusted user can write or replace the policy, and would decide what is signed.
    #[error(
        "{path}, on the path to the policy, can be written by {who}, who could grant itself anything: make root its \
         owner and set mode 0644 for a file, 0755 for a directory"
    )]
    Writable {
        /// The file or directory.
        path: PathBuf,
        /// That user.
        who: &'static str,
    },
    /// The policy demands a newer Landlock ABI than the one in force.
    #[error("the policy {path}: {why}")]
    Sandbox {
        /// The file.
        path: PathBuf,
        /// The unmet demand.
        why: SandboxError,
    },
    /// The policy has errors; each was logged on its own line.
    #[error("the policy {path} has {count} errors")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The number of errors.
        count: usize,
    },
}

/// The policy file, and the users who matter for its permissions.
#[derive(Debug)]
pub(crate) struct PolicySource {
    path: PathBuf,
    broker_uid: u32,
    broker_gid: Option<u32>,
    own_uid: u32,
}

impl PolicySource {
    pub(crate) fn new(path: &Path, broker: &User) -> Self {
        Self {
            path: path.to_owned(),
            broker_uid: broker.uid,
            broker_gid: broker.gid,
            own_uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// Returns the path of the policy file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the broker runs as the signer's own user.
    pub(crate) fn is_shared_user(&self) -> bool {
        self.broker_uid == self.own_uid
    }

    /// Returns the UID whose connections are served.
    pub(crate) fn broker_uid(&self) -> u32 {
        self.broker_uid
    }

    /// Loads the policy as [`load`](Self::load) does, for a process that is already confined by this Landlock ABI.
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

    /// Reads and compiles the policy; logs each of its errors and warnings.
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
        // Check every directory on the path, also of link targets: a user who can write one can substitute the file.
        let steps = steps_to(&self.path).map_err(io)?;
        for step in &steps {
            self.check_writers(step)?;
        }
        // The checked path must lead to the opened file, not to another one that took its name since.
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

    /// Returns the untrusted user who could replace a link with this owner. A link's mode is meaningless; its owner can
    /// replace it even in a directory with the sticky bit.
    fn replacer(&self, owner: u32) -> Option<&'static str> {
        let is_other = self.broker_uid != self.own_uid && self.broker_uid != 0;
        (is_other && owner == self.broker_uid).then_some("the broker")
    }

    /// Returns the untrusted user who could write a file with this owner, group and mode. In a directory with the sticky
    /// bit users cannot replace the files of others.
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
    use std::fs;
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
    fn untrusted_writers_of_the_policy_are_named() {
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
    fn directories_of_link_targets_are_checked() {
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
            // Sticky, like /tmp: only the owner of a file can replace it.
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
    fn policy_that_demands_a_newer_landlock_abi_is_refused() {
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
