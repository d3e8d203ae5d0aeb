//! Delegation certificates, by which the signer authorizes a broker to mint tokens in an epoch.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_names::{Digest, EpochId, Timestamp, Ttl};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use ssh_key::{PublicKey, SigningKey};

use crate::sshsig::{self, Namespace, SshsigError};

/// Maximum time from `issued_at` to `mint_until`.
pub const MAX_DELEGATION: Ttl = Ttl::from_secs(24 * 3600);

/// The signed content of a delegation certificate.
///
/// All times are the signer's. Verifiers take them from here instead of deriving them from their own
/// clock, which may differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationPayload {
    /// The epoch.
    pub epoch: EpochId,
    /// The broker's own id.
    pub broker_id: String,
    /// The Ed25519 key that signs the epoch's receipts; in JSON, base64url without padding.
    #[serde(serialize_with = "write_key", deserialize_with = "read_key")]
    pub public_key: [u8; 32],
    /// The time of signing.
    pub issued_at: Timestamp,
    /// The time until which the broker may mint tokens.
    pub mint_until: Timestamp,
    /// The time at which all tokens of the epoch have expired.
    pub valid_until: Timestamp,
}

/// Why a delegation certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    /// The CA's signature is missing or wrong.
    #[error("the delegation certificate is not valid: {0}")]
    Signature(#[from] SshsigError),
    /// The times are out of order or exceed [`MAX_DELEGATION`].
    #[error("the delegation certificate's times are out of order or more than a day apart")]
    Times,
    /// Its `valid_until` has passed.
    #[error("the delegation certificate expired at {0}")]
    Ended(Timestamp),
}

impl DelegationPayload {
    /// Returns the signed bytes: compact JSON with the fields in declaration order.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        // The fields are strings, times and a key, so serialization cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Checks that `issued_at` ≤ `mint_until` ≤ `valid_until` and that the first two are at most
    /// [`MAX_DELEGATION`] apart.
    ///
    /// # Errors
    /// [`DelegationError::Times`].
    pub fn check_times(&self) -> Result<(), DelegationError> {
        let ordered = self.issued_at <= self.mint_until && self.mint_until <= self.valid_until;
        if ordered && self.mint_until <= self.issued_at.after(MAX_DELEGATION) {
            Ok(())
        } else {
            Err(DelegationError::Times)
        }
    }
}

/// A payload with the CA's signature.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationCertificate {
    /// The signed content.
    pub payload: DelegationPayload,
    /// SSHSIG in PEM form, namespace `ephyr-delegation`.
    pub signature: String,
}

impl DelegationCertificate {
    /// Signs a payload with the CA key, which only the signer has.
    ///
    /// # Errors
    /// [`DelegationError::Times`]; [`DelegationError::Signature`] if the key is not Ed25519 or cannot sign.
    pub fn sign<K: SigningKey>(
        payload: DelegationPayload,
        ca: &K,
    ) -> Result<Self, DelegationError> {
        payload.check_times()?;
        let signature = sshsig::sign(ca, Namespace::Delegation, &payload.bytes())?;
        Ok(Self { payload, signature })
    }

    /// Verifies the CA's signature without reading a clock, since a receipt stays valid after its epoch.
    ///
    /// # Errors
    /// [`DelegationError::Signature`], [`DelegationError::Times`].
    pub fn verify_signature(&self, ca: &PublicKey) -> Result<(), DelegationError> {
        sshsig::verify(
            ca,
            Namespace::Delegation,
            &self.payload.bytes(),
            &self.signature,
        )?;
        self.payload.check_times()
    }

    /// Verifies the CA's signature and that the epoch has not ended.
    ///
    /// There is no lower bound, so a certificate from a signer whose clock is ahead is valid at once.
    ///
    /// # Errors
    /// As [`Self::verify_signature`]; [`DelegationError::Ended`] from `valid_until` on.
    pub fn verify(&self, ca: &PublicKey, now: Timestamp) -> Result<(), DelegationError> {
        self.verify_signature(ca)?;
        let end = self.payload.valid_until;
        if now < end {
            Ok(())
        } else {
            Err(DelegationError::Ended(end))
        }
    }

    /// Returns the certificate's id, the SHA-256 of the payload's bytes.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest(Sha256::digest(self.payload.bytes()).into())
    }
}

impl fmt::Debug for DelegationCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelegationCertificate")
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

fn write_key<S: Serializer>(key: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&URL_SAFE_NO_PAD.encode(key))
}

fn read_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(serde::de::Error::custom)?;
    bytes
        .try_into()
        .map_err(|_| serde::de::Error::custom("an Ed25519 public key has 32 bytes"))
}
