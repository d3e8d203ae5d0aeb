//! The keys of epochs, task trees and holders.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;
use ephyr_names::TaskId;
use hkdf::Hkdf;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::point::usable_point;

/// The label that precedes the root's ULID in HKDF's `info`.
const ROOT_KEY_LABEL: &[u8] = b"ephyr token root key v1\0";

/// The secret of an epoch, 32 random bytes, from which the root keys of its task trees are derived.
///
/// It never leaves the broker, is erased on drop and never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct EpochSecret {
    secret: [u8; 32],
    /// The HKDF pseudorandom key, extracted once for all trees of the epoch.
    extracted: [u8; 32],
}

impl EpochSecret {
    /// Builds the secret from 32 bytes of the system's random source.
    #[must_use]
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        let (mut extracted, _) = Hkdf::<Sha256>::extract(None, &secret);
        let prk: [u8; 32] = extracted.into();
        extracted.zeroize();
        Self {
            secret,
            extracted: prk,
        }
    }

    /// Returns the secret bytes, for the broker's journal in memory-backed storage.
    #[must_use]
    pub const fn dangerous_bytes(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Derives the key of the task tree of `root`: HKDF-SHA256 (RFC 5869) without salt, `info` =
    /// `ephyr token root key v1`, a zero byte and the 26 characters of the root's ULID.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "an all-zero key would be worse than a panic"
    )]
    pub fn root_key(&self, root: TaskId) -> RootKey {
        let mut info = [0u8; ROOT_KEY_LABEL.len() + 26];
        let (label, id) = info.split_at_mut(ROOT_KEY_LABEL.len());
        label.copy_from_slice(ROOT_KEY_LABEL);
        id.copy_from_slice(root.encode(&mut [0u8; 26]).as_bytes());
        let mut key = [0u8; 32];
        let hkdf = Hkdf::<Sha256>::from_prk(&self.extracted).expect("32 bytes are a whole PRK");
        hkdf.expand(&info, &mut key)
            .expect("32 bytes are within the 8160 that HKDF-SHA256 gives");
        RootKey(key)
    }
}

/// The key of one task tree's HMAC chains. It is erased on drop and never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RootKey([u8; 32]);

impl RootKey {
    /// Returns the key with these bytes, for verifiers that receive one, such as the test vectors'.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the key bytes, with which any token of the tree can be minted.
    #[must_use]
    pub const fn dangerous_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Why a text or bytes are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 43 characters of canonical base64url.
    #[error(
        "not an Ed25519 public key: expected 32 bytes as base64url without padding (43 characters)"
    )]
    Text,
    /// Not the canonical encoding of a point of the curve, or a point of small order.
    #[error("not an Ed25519 public key: its 32 bytes are not a usable point of the curve")]
    Point,
}

/// The Ed25519 public key (RFC 8032) that a task is bound to; as text, base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HolderKey([u8; 32]);

impl HolderKey {
    /// Checks that the bytes are a usable public key.
    ///
    /// # Errors
    /// [`KeyError::Point`] if they are not a canonical point of the curve or have a small order, so that
    /// anyone can sign for the key.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        Self(bytes).verifying_key().map(|_| Self(bytes))
    }

    /// Parses a key from a caveat without validating its point, which was validated at minting.
    pub(crate) fn from_caveat(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0u8; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            _ => Err(KeyError::Text),
        }
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn verifying_key(&self) -> Result<VerifyingKey, KeyError> {
        usable_point(&self.0).map_err(|_| KeyError::Point)
    }
}

impl FromStr for HolderKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(Self::from_caveat(text)?.0)
    }
}

impl fmt::Display for HolderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for HolderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HolderKey({self})")
    }
}

impl Serialize for HolderKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HolderKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The initiator of a task tree as named by the broker, such as `uid:1001` or `key:builder`: 1 to 128
/// characters of `A-Z a-z 0-9 . _ : @ / -`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Initiator(Box<str>);

impl Initiator {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not an [`Initiator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an initiator: expected 1 to 128 letters, digits or . _ : @ / -")]
pub struct InitiatorError;

impl FromStr for Initiator {
    type Err = InitiatorError;

    fn from_str(text: &str) -> Result<Self, InitiatorError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._:@/-".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(text.into()))
        } else {
            Err(InitiatorError)
        }
    }
}

impl fmt::Display for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Initiator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
