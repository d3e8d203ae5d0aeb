//! The key that a task is bound to, and its proofs (`Ephyr-Proof`, see docs/tokens.md).

use std::path::Path;

use ed25519_dalek::SigningKey;
use ephyr_names::{Digest, Timestamp};
use ephyr_sandbox::read_regular;
use ephyr_token::{HolderKey, Nonce, Proof, ProofRequest, Token};
use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use crate::ca::MAX_KEY_FILE;
use crate::failure::{Failure, UNAVAILABLE};

/// A holder's Ed25519 key. Erased when dropped, never printed.
pub(crate) struct Holder(SigningKey);

impl Holder {
    /// Generates a key in memory.
    ///
    /// # Errors
    /// `getrandom` failed.
    pub(crate) fn generate() -> Result<Self, Failure> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(no_randomness)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads an OpenSSH private key, such as from `ssh-keygen -t ed25519 -N ''`.
    ///
    /// # Errors
    /// The file cannot be read, or is not an unencrypted Ed25519 key.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = read_regular(path, MAX_KEY_FILE).map(Zeroizing::new);
        let text = text.map_err(|error| Failure::unreadable(path, &error))?;
        let bad = || {
            let text = format!(
                "{} is not an unencrypted OpenSSH Ed25519 key; create one with `ssh-keygen -t ed25519 -N ''`",
                path.display()
            );
            Failure::data(text)
        };
        let key = PrivateKey::from_openssh(&*text).map_err(|_| bad())?;
        let pair = key.key_data().ed25519().ok_or_else(bad)?;
        Ok(Self(SigningKey::from_bytes(&pair.private.to_bytes())))
    }

    /// Returns the public key in the form of `holder_pub_key`.
    ///
    /// # Errors
    /// The key is of small order.
    pub(crate) fn public(&self) -> Result<String, Failure> {
        let key = HolderKey::from_bytes(self.0.verifying_key().to_bytes());
        key.map(|key| key.to_string())
            .map_err(|error| Failure::data(error.to_string()))
    }

    /// Returns the value of the proof header for a request with this token.
    ///
    /// # Errors
    /// The token is malformed.
    pub(crate) fn prove(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<HeaderValue, Failure> {
        let token = Token::from_text(token).map_err(|error| Failure::data(error.to_string()))?;
        let request = ProofRequest {
            method,
            path,
            body: Digest(Sha256::digest(body).into()),
            token: token.digest(),
        };
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(no_randomness)?;
        let proof = Proof::sign(&self.0, &request, Nonce(nonce), now()).to_string();
        HeaderValue::from_str(&proof).map_err(Failure::protocol)
    }
}

fn no_randomness(error: getrandom::Error) -> Failure {
    Failure::new(
        UNAVAILABLE,
        "no_randomness",
        format!("random bytes cannot be read from the system: {error}"),
    )
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
