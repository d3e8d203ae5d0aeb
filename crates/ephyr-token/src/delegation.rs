//! Delegation certificates: the signer's word that a broker may mint tokens for an epoch.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_names::{Digest, EpochId, Timestamp, Ttl};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use ssh_key::{PublicKey, SigningKey};

use crate::sshsig::{self, Namespace, SshsigError};

/// Longest time from `issued_at` to `mint_until`: a day.
pub const MAX_DELEGATION: Ttl = Ttl::from_secs(24 * 3600);

/// What the signer signs about an epoch.
///
/// All times are the signer's own; who verifies takes them from here and never works them out from
/// a clock of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationPayload {
    /// The epoch.
    pub epoch: EpochId,
    /// The broker's name for itself.
    pub broker_id: String,
    /// The Ed25519 key that signs the epoch's receipts; in JSON base64url without padding.
    #[serde(serialize_with = "write_key", deserialize_with = "read_key")]
    pub public_key: [u8; 32],
    /// When it was signed.
    pub issued_at: Timestamp,
    /// The broker mints until then.
    pub mint_until: Timestamp,
    /// No token of the epoch outlives this.
    pub valid_until: Timestamp,
}

/// Why a delegation certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    /// The CA's signature is missing or wrong.
    #[error("the delegation certificate: {0}")]
    Signature(#[from] SshsigError),
    /// The times contradict each other or exceed [`MAX_DELEGATION`].
    #[error("the delegation certificate's times are out of order or more than a day apart")]
    Times,
    /// Its `valid_until` has passed.
    #[error("the delegation certificate ended at {0}")]
    Ended(Timestamp),
}

impl DelegationPayload {
    /// The bytes that are signed: compact JSON, the fields in the order in which they stand here.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        // Strings and times alone: serialisation cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Checks that `issued_at` ≤ `mint_until` ≤ `valid_until`, the first two a day apart at most.
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

/// A payload with the CA's signature over it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationCertificate {
    /// What is signed.
    pub payload: DelegationPayload,
    /// SSHSIG in PEM form, namespace `ephyr-delegation`.
    pub signature: String,
}

impl DelegationCertificate {
    /// Signs a payload; only the signer has the key for it.
    ///
    /// # Errors
    /// [`DelegationError::Times`]; [`DelegationError::Signature`] when the key is not Ed25519.
    pub fn sign<K: SigningKey>(
        payload: DelegationPayload,
        ca: &K,
    ) -> Result<Self, DelegationError> {
        payload.check_times()?;
        let signature = sshsig::sign(ca, Namespace::Delegation, &payload.bytes())?;
        Ok(Self { payload, signature })
    }

    /// Checks the CA's signature, and nothing that depends on the time. This is what a receipt needs,
    /// whenever it is looked at.
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

    /// Checks the CA's signature, and that the epoch is not over.
    ///
    /// There is no lower bound: a signer whose clock is ahead makes a certificate that is good at once.
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

    /// The certificate's name: SHA-256 of the payload's bytes.
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
