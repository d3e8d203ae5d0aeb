//! The key pair of one connection, and its certificate.

use std::sync::Arc;

use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{Certificate, PrivateKey};
use zeroize::Zeroizing;

use crate::error::SshError;

/// Longest certificate accepted, in bytes; ample for the base64 form of one with a 16 KiB command.
const MAX_CERTIFICATE: usize = 64 * 1024;

/// An Ed25519 key pair that exists only in memory, for one connection. The private half is overwritten
/// on drop.
pub struct KeyPair {
    private: PrivateKey,
    public: String,
}

/// A key pair with its certificate, for [`Connection::authenticate`](crate::Connection::authenticate).
pub struct Identity {
    pub(crate) private: Arc<PrivateKey>,
    pub(crate) certificate: Certificate,
}

impl KeyPair {
    /// Generates a key pair from the kernel's random number generator.
    ///
    /// # Errors
    /// [`SshError::Random`] when the kernel returns no random bytes.
    pub fn generate() -> Result<Self, SshError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|error| SshError::Random {
            reason: error.to_string(),
        })?;
        let data = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let private = PrivateKey::new(data, "").map_err(|error| SshError::Random {
            reason: error.to_string(),
        })?;
        let public = private.public_key().to_openssh().map_err(|error| {
            // An Ed25519 public key always has a text form.
            SshError::Random {
                reason: error.to_string(),
            }
        })?;
        Ok(Self { private, public })
    }

    /// Returns the public key as one line, `ssh-ed25519 AAAA…`, for the signer.
    #[must_use]
    pub fn public_openssh(&self) -> &str {
        &self.public
    }

    /// Combines the key pair with its certificate, given as the line of an OpenSSH `-cert.pub` file
    /// (PROTOCOL.certkeys).
    ///
    /// # Errors
    /// [`SshError::BadCertificate`] when the text is not a user certificate for this key.
    pub fn identity(self, certificate: &str) -> Result<Identity, SshError> {
        let bad = |reason: &str| SshError::BadCertificate {
            reason: reason.to_owned(),
        };
        if certificate.len() > MAX_CERTIFICATE {
            return Err(bad("it is longer than 64 KiB"));
        }
        let certificate = Certificate::from_openssh(certificate.trim_end())
            .map_err(|error| bad(&error.to_string()))?;
        if certificate.public_key() != self.private.public_key().key_data() {
            return Err(bad("it is for another key"));
        }
        if !certificate.cert_type().is_user() {
            return Err(bad("it is for a host, not for a user"));
        }
        Ok(Identity {
            private: Arc::new(self.private),
            certificate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generated_key_pair_is_different() {
        let one = KeyPair::generate().unwrap();
        let other = KeyPair::generate().unwrap();
        assert!(one.public_openssh().starts_with("ssh-ed25519 AAAA"));
        assert_ne!(one.public_openssh(), other.public_openssh());
    }

    #[test]
    fn invalid_certificate_is_refused_and_not_echoed() {
        let text = "ssh-ed25519-cert-v01@openssh.com AAAAsecretlooking";
        let refused = KeyPair::generate().unwrap().identity(text);
        let message = refused.err().unwrap().to_string();
        assert!(message.contains("certificate"), "{message}");
        assert!(!message.contains("secretlooking"), "{message}");
    }

    #[test]
    fn certificate_over_64_kib_is_refused_unparsed() {
        let refused = KeyPair::generate().unwrap().identity(&"A".repeat(70_000));
        assert!(refused.err().unwrap().to_string().contains("64 KiB"));
    }
}
