//! The keys of a world: the CA key, host keys, API keys.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey, PublicKey};

use crate::error::{Context as _, Result};

/// An Ed25519 key pair of a CA or a host.
pub struct CaKey(PrivateKey);

impl CaKey {
    /// Generates a key pair.
    ///
    /// # Errors
    /// `getrandom` failed.
    pub fn generate(comment: &str) -> Result<Self> {
        let seed = random::<32>()?;
        let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
        PrivateKey::new(pair, comment)
            .context(|| "generating a key".into())
            .map(Self)
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// The public key as one line: `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    /// The key cannot be encoded; never the case for a generated key.
    pub fn public_line(&self) -> Result<String> {
        self.public()
            .to_openssh()
            .context(|| "encoding a public key".into())
    }

    /// The private key, for tests that sign certificates themselves.
    #[must_use]
    pub fn private(&self) -> &PrivateKey {
        &self.0
    }

    /// Writes the private key with mode 0600.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = self
            .0
            .to_openssh(LineEnding::LF)
            .context(|| "encoding a private key".into())?;
        let mut file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .context(|| format!("creating {}", path.display()))?;
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .context(|| format!("setting the mode of {}", path.display()))?;
        file.write_all(text.as_bytes())
            .context(|| format!("writing {}", path.display()))
    }
}

/// An API key and its bcrypt hash.
#[derive(Clone)]
pub struct ApiKey {
    /// The key: `eph_<agent>_<43 characters>`.
    pub key: String,
    /// The bcrypt hash for the policy, cost 10.
    pub hash: String,
}

impl ApiKey {
    /// Generates a key for an agent.
    ///
    /// # Errors
    /// `getrandom` failed.
    pub fn generate(agent: &str) -> Result<Self> {
        // The random part must have neither '_' nor '-': both signs of standard base64 become a
        // letter. The lost entropy does not matter in a test.
        let random = STANDARD
            .encode(random::<32>()?)
            .replace('=', "")
            .replace(['+', '/'], "x");
        let key = format!("eph_{agent}_{random}");
        let hash = bcrypt::non_truncating_hash(&key, 10).context(|| "hashing a key".into())?;
        Ok(Self { key, hash })
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context(|| "reading random bytes".into())?;
    Ok(bytes)
}
