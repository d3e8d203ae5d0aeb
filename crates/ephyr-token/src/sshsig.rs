//! SSHSIG signatures (OpenSSH PROTOCOL.sshsig) by Ed25519 keys under Ephyr's own namespaces.
//!
//! The CA key signs everything other than certificates here. Each purpose has its own namespace, so a
//! signature cannot be reused for another purpose. `ssh-keygen -Y verify` accepts these signatures.

use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, SigningKey, SshSig};

/// The purpose of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// A delegation certificate: an epoch of a broker.
    Delegation,
    /// The head of an audit chain.
    Checkpoint,
    /// A key revocation list.
    Krl,
    /// An admin's approval of a request.
    Approval,
}

impl Namespace {
    /// Returns the namespace's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delegation => "ephyr-delegation",
            Self::Checkpoint => "ephyr-checkpoint",
            Self::Krl => "ephyr-krl",
            Self::Approval => "ephyr-approval",
        }
    }
}

/// Why a signature is refused or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshsigError {
    /// Not an SSH signature in PEM form.
    #[error("not an SSH signature (-----BEGIN SSH SIGNATURE-----)")]
    Malformed,
    /// The key or signature is not Ed25519.
    #[error("the key is not Ed25519 (ssh-ed25519)")]
    Algorithm,
    /// Made by another key.
    #[error("the signature was made by another key")]
    Key,
    /// Made in another namespace, or with data in the reserved field.
    #[error("the signature was made for another purpose (namespace)")]
    Namespace,
    /// The signature does not match the message.
    #[error("the signature does not match the signed content")]
    Signature,
    /// Signing failed.
    #[error("signing with the key failed")]
    Signing,
}

/// Signs `message` with SHA-512, as `ssh-keygen -Y sign` does, and returns the PEM text.
///
/// # Errors
/// [`SshsigError::Algorithm`] unless the key is Ed25519; [`SshsigError::Signing`].
pub fn sign<K: SigningKey>(
    key: &K,
    namespace: Namespace,
    message: &[u8],
) -> Result<String, SshsigError> {
    if key.public_key().algorithm() != Algorithm::Ed25519 {
        return Err(SshsigError::Algorithm);
    }
    SshSig::sign(key, namespace.as_str(), HashAlg::Sha512, message)
        .and_then(|signature| signature.to_pem(LineEnding::LF))
        .map_err(|_| SshsigError::Signing)
}

/// Verifies that `signature` (PEM text) is `key`'s signature of `message` in `namespace`.
///
/// # Errors
/// [`SshsigError`] states whether format, algorithm, key, namespace or message is at fault.
pub fn verify(
    key: &PublicKey,
    namespace: Namespace,
    message: &[u8],
    signature: &str,
) -> Result<(), SshsigError> {
    let signature = SshSig::from_pem(signature).map_err(|_| SshsigError::Malformed)?;
    if key.algorithm() != Algorithm::Ed25519 || signature.algorithm() != Algorithm::Ed25519 {
        return Err(SshsigError::Algorithm);
    }
    if signature.public_key() != key.key_data() {
        return Err(SshsigError::Key);
    }
    if signature.namespace() != namespace.as_str() || !signature.reserved().is_empty() {
        return Err(SshsigError::Namespace);
    }
    key.verify(namespace.as_str(), message, &signature)
        .map_err(|_| SshsigError::Signature)
}
