//! Proof of possession: the `Ephyr-Proof` header of every request made with a bound token.
//!
//! The value is base64url without padding of 185 bytes:
//!
//! ```text
//! 0x01 | u64be time, Unix ms | 16 B nonce | 32 B token digest | 32 B SHA-256("METHOD path") | 32 B SHA-256(raw body) | 64 B Ed25519
//! ```
//!
//! The signature covers `ephyr-proof-v1`, a zero byte and everything before the signature. `path` is the
//! request target as sent, including any query.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use ephyr_names::{Digest, Timestamp, Ttl};
use sha2::{Digest as _, Sha256};

use crate::keys::HolderKey;

/// The name of the HTTP header.
pub const HEADER: &str = "Ephyr-Proof";

/// Maximum distance between a proof's time and the broker's clock, in either direction. Nonces are kept at
/// least until the proof's time plus this.
pub const SKEW: Ttl = Ttl::from_secs(30);

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"ephyr-proof-v1\0";
const CLAIM_LEN: usize = 1 + 8 + 16 + 32 + 32 + 32;
const LEN: usize = CLAIM_LEN + 64;

/// 16 random bytes, used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Nonce(pub [u8; 16]);

/// The request that a proof is for.
#[derive(Clone, Copy, Debug)]
pub struct ProofRequest<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The request target, as sent: path and any query.
    pub path: &'a str,
    /// SHA-256 of the body, byte for byte as sent.
    pub body: Digest,
    /// [`crate::Token::digest`] of the token in the request.
    pub token: Digest,
}

/// A valid proof whose nonce has not been checked yet.
#[must_use = "check that the nonce is unused, or the request can be replayed"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The nonce, which must be unused; per holder key or globally.
    pub nonce: Nonce,
    /// The proof's time; the nonce is kept until this time plus the skew.
    pub time: Timestamp,
}

/// Why a proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not 247 characters of canonical base64url, or another version.
    #[error("Ephyr-Proof is malformed: expected 247 characters of base64url")]
    Malformed,
    /// Not signed by the key that the token is bound to.
    #[error("Ephyr-Proof is not signed by the key that the token is bound to")]
    Signature,
    /// For another token.
    #[error("Ephyr-Proof is for another token")]
    Token,
    /// For another method or path.
    #[error("Ephyr-Proof is for another method or path")]
    Request,
    /// For another body.
    #[error("Ephyr-Proof is for another body")]
    Body,
    /// Too old or too far in the future.
    #[error(
        "Ephyr-Proof was made at {made}, too far from the broker's time {now}: synchronize the clock and make one proof per request"
    )]
    Time {
        /// The proof's time.
        made: Timestamp,
        /// The broker's time.
        now: Timestamp,
    },
}

/// A proof as sent; its content is unverified until [`Proof::check`].
#[derive(Clone, Copy)]
pub struct Proof {
    bytes: [u8; LEN],
}

impl Proof {
    /// Signs a proof. `nonce` must be fresh random bytes, `time` the sender's clock.
    #[must_use]
    pub fn sign(
        key: &SigningKey,
        request: &ProofRequest<'_>,
        nonce: Nonce,
        time: Timestamp,
    ) -> Self {
        let mut bytes = [0; LEN];
        let (claim, signature) = bytes.split_at_mut(CLAIM_LEN);
        claim[0] = VERSION;
        claim[1..9].copy_from_slice(&time.unix_millis().to_be_bytes());
        claim[9..25].copy_from_slice(&nonce.0);
        claim[25..57].copy_from_slice(&request.token.0);
        claim[57..89].copy_from_slice(&request.line_digest());
        claim[89..].copy_from_slice(&request.body.0);
        signature.copy_from_slice(&key.sign(&message(claim)).to_bytes());
        Self { bytes }
    }

    /// Parses the header's value.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] unless it is canonical.
    pub fn parse(header: &str) -> Result<Self, ProofError> {
        let mut bytes = [0; LEN];
        match URL_SAFE_NO_PAD.decode_slice(header, &mut bytes) {
            Ok(LEN) if bytes[0] == VERSION => Ok(Self { bytes }),
            _ => Err(ProofError::Malformed),
        }
    }

    /// Verifies the proof: first the signature, so that nothing in a forged proof is evaluated, then token,
    /// method and path, body, and time.
    ///
    /// # Errors
    /// [`ProofError`] for the first check that fails.
    pub fn check(
        &self,
        holder: &HolderKey,
        request: &ProofRequest<'_>,
        now: Timestamp,
        skew: Ttl,
    ) -> Result<Proven, ProofError> {
        let (claim, signature) = self.bytes.split_at(CLAIM_LEN);
        // `verify_strict` refuses keys of small order, for which anyone can sign.
        let key = VerifyingKey::from_bytes(holder.as_bytes()).map_err(|_| ProofError::Signature)?;
        let signature = Signature::from_slice(signature).map_err(|_| ProofError::Signature)?;
        key.verify_strict(&message(claim), &signature)
            .map_err(|_| ProofError::Signature)?;
        if claim[25..57] != request.token.0 {
            return Err(ProofError::Token);
        }
        if claim[57..89] != request.line_digest() {
            return Err(ProofError::Request);
        }
        if claim[89..] != request.body.0 {
            return Err(ProofError::Body);
        }
        let made = i64::from_be_bytes(array(&claim[1..9]));
        let distance = now.unix_millis().abs_diff(made);
        let made = Timestamp::from_unix_millis(made);
        if distance > skew.as_millis() {
            return Err(ProofError::Time { made, now });
        }
        Ok(Proven {
            nonce: Nonce(array(&claim[9..25])),
            time: made,
        })
    }
}

impl ProofRequest<'_> {
    /// Returns the SHA-256 of `METHOD path`. It is unambiguous because a method contains no space.
    fn line_digest(&self) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.method).chain_update(" ");
        hash.chain_update(self.path).finalize().into()
    }
}

fn message(claim: &[u8]) -> Vec<u8> {
    [DOMAIN, claim].concat()
}

/// Copies a slice, which must have exactly `N` bytes.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.bytes))
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}
