//! Loads the policy with the API key hashes that it names.

use std::collections::HashMap;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use ephyr_names::AgentName;
use ephyr_policy::{KeySource, MAX_POLICY_BYTES, Policy};
use ephyr_sandbox::{read_regular, read_regular_text};

use crate::auth::keys::KeyHash;

/// Maximum size of a credential file in bytes; a bcrypt hash has 60.
const MAX_CREDENTIAL: usize = 4096;

/// A policy with its API key hashes.
pub struct Loaded {
    policy: Policy,
    hashes: HashMap<AgentName, KeyHash>,
}

/// Why a policy cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the policy {path}: {error}; `--policy` names another file")]
    Read {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The policy has errors.
    #[error("{0}")]
    Invalid(String),
    /// A credential that the policy names cannot be read or is invalid.
    #[error("agents.{agent}: {why}")]
    Credential {
        /// The agent.
        agent: AgentName,
        /// Why.
        why: String,
    },
}

/// Reads the policy file without credentials.
///
/// # Errors
/// [`LoadError`]: the file cannot be read, or is invalid.
pub fn read(path: &Path) -> Result<Policy, LoadError> {
    let name = path.display().to_string();
    let source = read_regular(path, MAX_POLICY_BYTES).map_err(|error| LoadError::Read {
        path: name.clone(),
        error,
    })?;
    ephyr_policy::load(&source, &name)
        .map_err(|diagnostics| LoadError::Invalid(diagnostics.to_string()))
}

impl Loaded {
    /// Reads the policy file and the credentials that it names.
    ///
    /// # Errors
    /// [`LoadError`]. The policy in force is not affected.
    pub fn load(path: &Path, credentials: Option<&Path>) -> Result<Self, LoadError> {
        let policy = read(path)?;
        let mut hashes = HashMap::new();
        for agent in policy.agents() {
            let Some(source) = &agent.api_key else {
                continue;
            };
            let hash = key_hash(source, credentials).map_err(|why| LoadError::Credential {
                agent: agent.name.clone(),
                why,
            })?;
            hashes.insert(agent.name.clone(), hash);
        }
        Ok(Self { policy, hashes })
    }

    /// Returns the hash of an agent's API key.
    #[must_use]
    pub fn key_hash(&self, agent: &AgentName) -> Option<KeyHash> {
        self.hashes.get(agent).cloned()
    }
}

impl Deref for Loaded {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

fn key_hash(source: &KeySource, credentials: Option<&Path>) -> Result<KeyHash, String> {
    match source {
        KeySource::Inline(hash) => {
            KeyHash::new(hash).map_err(|error| format!("api_key_hash: {error}"))
        }
        KeySource::Credential(name) => {
            let Some(dir) = credentials else {
                return Err(format!(
                    "api_key_hash_credential: there is no credentials directory to read {name} from; \
                     set LoadCredential= or --credentials-dir"
                ));
            };
            let path: PathBuf = dir.join(name);
            let text = read_regular_text(&path, MAX_CREDENTIAL)
                .map_err(|error| format!("api_key_hash_credential: {}: {error}", path.display()))?;
            KeyHash::new(&text).map_err(|error| format!("api_key_hash_credential: {name}: {error}"))
        }
    }
}
