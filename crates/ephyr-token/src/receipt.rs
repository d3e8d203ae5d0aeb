//! Receipts in the results of actions, verifiable offline with the CA's public key.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use ephyr_names::{Digest, RecordId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ssh_key::PublicKey;

use crate::delegation::{DelegationCertificate, DelegationError};

const PREFIX: &str = "rcpt_";
const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"ephyr-receipt-v1\0";
/// Record id, record hash, certificate id.
const CLAIM_LEN: usize = 16 + 32 + 32;
const LEN: usize = 1 + CLAIM_LEN + 64;

/// A statement, signed with the broker's epoch key, that an audit record with this hash exists.
///
/// The text is `rcpt_` and base64url without padding of: 0x01, record id (16 bytes), record hash (32),
/// certificate id (32), signature (64). The signature covers `ephyr-receipt-v1`, a zero byte, record id,
/// record hash and certificate id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The audit record.
    pub record: RecordId,
    /// Its hash in the chain.
    pub record_hash: Digest,
    /// The id of the delegation certificate that certifies the epoch key.
    pub certificate: Digest,
    /// The Ed25519 signature (RFC 8032).
    pub signature: [u8; 64],
}

/// Why a receipt is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not the text of a receipt.
    #[error("not a receipt: expected \"rcpt_\" and 194 characters of base64url")]
    Malformed,
    /// The receipt names another certificate.
    #[error("the receipt belongs to the delegation certificate {0}, not to this one")]
    OtherCertificate(Digest),
    /// The certificate is not valid for the CA's key.
    #[error(transparent)]
    Certificate(#[from] DelegationError),
    /// The signature is not the epoch key's.
    #[error("the receipt's signature is wrong")]
    Signature,
}

impl Receipt {
    /// Signs a receipt; `sign` returns the epoch key's Ed25519 signature (RFC 8032) of the bytes it receives.
    ///
    /// # Errors
    /// The error of `sign`.
    pub fn sign<E>(
        record: RecordId,
        record_hash: Digest,
        certificate: Digest,
        sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
    ) -> Result<Self, E> {
        let signature = sign(&message(&claim(record, record_hash, certificate)))?;
        Ok(Self {
            record,
            record_hash,
            certificate,
            signature,
        })
    }

    /// Verifies the receipt against its certificate, and the certificate against the CA's key. It reads no
    /// clock, because a receipt stays valid after its epoch.
    ///
    /// # Errors
    /// [`ReceiptError`] states whether the receipt or the certificate is at fault.
    pub fn verify(
        &self,
        certificate: &DelegationCertificate,
        ca: &PublicKey,
    ) -> Result<(), ReceiptError> {
        if certificate.id() != self.certificate {
            return Err(ReceiptError::OtherCertificate(self.certificate));
        }
        certificate.verify_signature(ca)?;
        let key = VerifyingKey::from_bytes(&certificate.payload.public_key)
            .map_err(|_| ReceiptError::Signature)?;
        let claim = claim(self.record, self.record_hash, self.certificate);
        key.verify_strict(&message(&claim), &Signature::from_bytes(&self.signature))
            .map_err(|_| ReceiptError::Signature)
    }
}

fn claim(record: RecordId, hash: Digest, certificate: Digest) -> [u8; CLAIM_LEN] {
    let mut claim = [0; CLAIM_LEN];
    claim[..16].copy_from_slice(&record.to_bits().to_be_bytes());
    claim[16..48].copy_from_slice(&hash.0);
    claim[48..].copy_from_slice(&certificate.0);
    claim
}

fn message(claim: &[u8; CLAIM_LEN]) -> [u8; DOMAIN.len() + CLAIM_LEN] {
    let mut message = [0; DOMAIN.len() + CLAIM_LEN];
    message[..DOMAIN.len()].copy_from_slice(DOMAIN);
    message[DOMAIN.len()..].copy_from_slice(claim);
    message
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [VERSION; LEN];
        bytes[1..=CLAIM_LEN].copy_from_slice(&claim(
            self.record,
            self.record_hash,
            self.certificate,
        ));
        bytes[1 + CLAIM_LEN..].copy_from_slice(&self.signature);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Receipt {
    type Err = ReceiptError;

    fn from_str(text: &str) -> Result<Self, ReceiptError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(ReceiptError::Malformed)?;
        let mut bytes = [0; LEN];
        match URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes) {
            Ok(LEN) if bytes[0] == VERSION => {}
            _ => return Err(ReceiptError::Malformed),
        }
        let (claim, signature) = bytes[1..].split_at(CLAIM_LEN);
        let part = |range: std::ops::Range<usize>| claim[range].try_into().map(Digest);
        let malformed = |_| ReceiptError::Malformed;
        let record: [u8; 16] = claim[..16].try_into().map_err(malformed)?;
        Ok(Self {
            record: RecordId::from_bits(u128::from_be_bytes(record)),
            record_hash: part(16..48).map_err(malformed)?,
            certificate: part(48..80).map_err(malformed)?,
            signature: signature.try_into().map_err(malformed)?,
        })
    }
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
