//! SSHSIG signatures (OpenSSH's PROTOCOL.sshsig) under namespaces of our own, by Ed25519 keys alone.
//!
//! Everything that the CA key signs besides certificates is signed here, each kind under its own
//! namespace, so that none can be passed off as another. `ssh-keygen -Y verify` reads them too.

use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, SigningKey, SshSig};

/// What a signature is for.
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
    /// The namespace's text.
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

/// Why a signature is refused, or not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshsigError {
    /// Not an SSH signature in PEM form.
    #[error("not an SSH signature (-----BEGIN SSH SIGNATURE-----)")]
    Malformed,
    /// The key is not Ed25519.
    #[error("the key is not Ed25519 (ssh-ed25519)")]
    Algorithm,
    /// Made by another key.
    #[error("the signature is by another key")]
    Key,
    /// Made for another purpose.
    #[error("the signature is for another purpose (namespace)")]
    Namespace,
    /// The signature does not fit the message.
    #[error("the signature does not fit what is signed")]
    Signature,
    /// The key cannot sign.
    #[error("the key cannot sign")]
    Signing,
}

/// Signs `message`, SHA-512, as `ssh-keygen -Y sign` does. Gives the PEM text.
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

/// Checks that `signature` (PEM text) is `key`'s over `message` in this namespace.
///
/// # Errors
/// [`SshsigError`] says what differs: key, namespace or message.
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
