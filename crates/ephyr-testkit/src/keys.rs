//! Fresh keys for a world: the CA, hosts, API keys.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey, PublicKey};

use crate::error::{Context as _, Result};

/// A fresh Ed25519 key pair: of a CA or of a host.
pub struct CaKey(PrivateKey);

impl CaKey {
    /// Makes one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate(comment: &str) -> Result<Self> {
        let seed = random::<32>()?;
        let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
        PrivateKey::new(pair, comment)
            .context(|| "making a key".into())
            .map(Self)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// The public half as one line: `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    /// Not with a key that was generated here.
    pub fn public_line(&self) -> Result<String> {
        self.public()
            .to_openssh()
            .context(|| "writing a public key".into())
    }

    /// The private half, for what only a holder of the key can make.
    #[must_use]
    pub fn private(&self) -> &PrivateKey {
        &self.0
    }

    /// Writes the private half with mode 0600.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = self
            .0
            .to_openssh(LineEnding::LF)
            .context(|| "writing a private key".into())?;
        let mut file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .context(|| format!("making {}", path.display()))?;
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .context(|| format!("protecting {}", path.display()))?;
        file.write_all(text.as_bytes())
            .context(|| format!("writing {}", path.display()))
    }
}

/// An API key and its bcrypt hash.
#[derive(Clone)]
pub struct ApiKey {
    /// `eph_<agent>_<43 characters>`.
    pub key: String,
    /// The hash for the policy, cost 10.
    pub hash: String,
}

impl ApiKey {
    /// Makes one for an agent.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate(agent: &str) -> Result<Self> {
        // Standard base64 with its two signs replaced by letters: the random part then has neither
        // '_' nor '-', and what little is lost of 256 bits does not matter to a test.
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
    getrandom::fill(&mut bytes).context(|| "asking for randomness".into())?;
    Ok(bytes)
}
