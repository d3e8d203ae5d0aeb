//! Loads the policy and compiles its table.

use std::io;
use std::path::{Path, PathBuf};

use ephyr_policy::{Diagnostics, MAX_POLICY_BYTES, Policy};
use ephyr_render::{BrokerListen, NftTable};
use ephyr_sandbox::read_regular;

/// The policy cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("cannot read the policy {path}: {why}; `--policy` names another file")]
    Unreadable { path: PathBuf, why: io::Error },
    #[error("the policy {path} has errors:\n{findings}")]
    Invalid {
        path: PathBuf,
        findings: Diagnostics,
    },
}

/// The policy file, and the broker's listen address, which is not part of the policy.
#[derive(Debug)]
pub(crate) struct PolicySource {
    path: PathBuf,
    broker: BrokerListen,
}

impl PolicySource {
    pub(crate) fn new(path: &Path, broker: BrokerListen) -> Self {
        Self {
            path: path.to_path_buf(),
            broker,
        }
    }

    /// Returns the path of the policy file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the policy file and returns its table.
    pub(crate) fn load(&self) -> Result<NftTable, PolicyError> {
        Ok(self.table(&self.policy()?))
    }

    /// Reads the policy file.
    pub(crate) fn policy(&self) -> Result<Policy, PolicyError> {
        let bytes =
            read_regular(&self.path, MAX_POLICY_BYTES).map_err(|why| PolicyError::Unreadable {
                path: self.path.clone(),
                why,
            })?;
        let name = self.path.display().to_string();
        ephyr_policy::load(&bytes, &name).map_err(|findings| PolicyError::Invalid {
            path: self.path.clone(),
            findings,
        })
    }

    /// Returns the table of a policy.
    pub(crate) fn table(&self, policy: &Policy) -> NftTable {
        NftTable::new(policy, self.broker)
    }
}
