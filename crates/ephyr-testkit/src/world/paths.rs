//! The paths of a world's files.

use std::path::{Path, PathBuf};

use super::World;

impl World {
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

    /// The broker's state directory, as a path that is valid outside the world's mount namespace.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.keeper.outside_path(&self.path("state"))
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }
}
