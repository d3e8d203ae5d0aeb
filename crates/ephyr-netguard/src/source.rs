//! The policy, as a table.

use std::io;
use std::path::{Path, PathBuf};

use ephyr_policy::{Diagnostics, MAX_POLICY_BYTES, Policy};
use ephyr_render::{BrokerListen, NftTable};
use ephyr_sandbox::read_regular;

/// Why a policy is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("the policy {path} cannot be read: {why}")]
    Unreadable { path: PathBuf, why: io::Error },
    #[error("the policy {path} has errors:\n{findings}")]
    Invalid {
        path: PathBuf,
        findings: Diagnostics,
    },
}

/// Where the policy comes from, and where the broker listens, which no policy says.
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

    /// The policy's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The table of the policy as it is now.
    pub(crate) fn load(&self) -> Result<NftTable, PolicyError> {
        Ok(self.table(&self.policy()?))
    }

    /// The policy as it is now.
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

    /// A policy's table.
    pub(crate) fn table(&self, policy: &Policy) -> NftTable {
        NftTable::new(policy, self.broker)
    }
}
