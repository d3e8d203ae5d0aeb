//! Proof of possession: the `Ephyr-Proof` header of every request made with a bound token.
//!
//! base64url without padding of 185 bytes:
//!
//! ```text
//! 0x01 | u64be time, Unix ms | 16 B nonce | 32 B token digest | 32 B SHA-256("METHOD path") | 32 B SHA-256(raw body) | 64 B Ed25519
//! ```
//!
//! Signed are `ephyr-proof-v1`, a zero byte and everything before the signature. `path` is the
//! request target as sent, with its query if it has one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use ephyr_names::{Digest, Timestamp, Ttl};
use sha2::{Digest as _, Sha256};

use crate::keys::HolderKey;

/// The header's name.
pub const HEADER: &str = "Ephyr-Proof";

/// How far a proof's time may be from the broker's, either way: 30 s. Nonces are kept at least until
/// the proof's time plus this.
pub const SKEW: Ttl = Ttl::from_secs(30);

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"ephyr-proof-v1\0";
const CLAIM_LEN: usize = 1 + 8 + 16 + 32 + 32 + 32;
const LEN: usize = CLAIM_LEN + 64;

/// 16 bytes, random, used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Nonce(pub [u8; 16]);

/// The request that a proof is for.
#[derive(Clone, Copy, Debug)]
pub struct ProofRequest<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The request target, as sent: path and, if there is one, query.
    pub path: &'a str,
    /// SHA-256 of the body, byte for byte as sent.
    pub body: Digest,
    /// [`crate::Token::digest`] of the token in the request.
    pub token: Digest,
}

/// What a proof that holds leaves to do: to see that its nonce was not used before.
#[must_use = "the nonce must still be found unused, or the request can be replayed"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Unused so far, it must be; per holder key or for all together.
    pub nonce: Nonce,
    /// Keep the nonce until this time plus the skew.
    pub time: Timestamp,
}

/// Why a proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the text of a proof.
    #[error("Ephyr-Proof is malformed: 247 characters of base64url are expected")]
    Malformed,
    /// Not signed by the key that the token is bound to.
    #[error("Ephyr-Proof is not by the key that the token is bound to")]
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
    /// Too old, or from the future.
    #[error(
        "Ephyr-Proof was made at {made}, which is too far from {now}: set the clock, or make one per request"
    )]
    Time {
        /// The proof's time.
        made: Timestamp,
        /// The broker's.
        now: Timestamp,
    },
}

/// A proof as sent; nothing in it is believed before [`Proof::check`].
#[derive(Clone, Copy)]
pub struct Proof {
    bytes: [u8; LEN],
}

impl Proof {
    /// Makes a proof. `nonce` must be fresh random bytes, `time` the sender's clock.
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

    /// Reads the header's value.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] for everything but the one spelling.
    pub fn parse(header: &str) -> Result<Self, ProofError> {
        let mut bytes = [0; LEN];
        match URL_SAFE_NO_PAD.decode_slice(header, &mut bytes) {
            Ok(LEN) if bytes[0] == VERSION => Ok(Self { bytes }),
            _ => Err(ProofError::Malformed),
        }
    }

    /// Checks the proof: its signature first, then token, method and path, body, and at last the time.
    ///
    /// # Errors
    /// [`ProofError`], the first that applies in that order.
    pub fn check(
        &self,
        holder: &HolderKey,
        request: &ProofRequest<'_>,
        now: Timestamp,
        skew: Ttl,
    ) -> Result<Proven, ProofError> {
        let (claim, signature) = self.bytes.split_at(CLAIM_LEN);
        // A key of small order, for which signatures prove nothing, is refused by `verify_strict`.
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
    /// SHA-256 of `METHOD path`. A method has no space, so no two requests share the bytes.
    fn line_digest(&self) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.method).chain_update(" ");
        hash.chain_update(self.path).finalize().into()
    }
}

fn message(claim: &[u8]) -> Vec<u8> {
    [DOMAIN, claim].concat()
}

/// Callers pass slices of exactly `N` bytes.
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
