//! An epoch: the lifetime of one token-minting secret and of the key that signs receipts.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_names::{Digest, EpochId, RecordId, TaskId, Timestamp};
use ephyr_token::{DelegationCertificate, EpochSecret, Receipt, RootKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ids;

/// One epoch: the token secret, the receipt key and the signer's delegation.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct EpochEntry {
    /// Its id.
    pub id: EpochId,
    /// The secret from which each tree's root key is derived.
    pub secret: Secret,
    /// The seed of the Ed25519 key that signs receipts.
    pub seed: Secret,
    /// The signer's certificate for that key.
    pub certificate: DelegationCertificate,
}

/// A usable epoch. Its secrets are zeroized on drop.
pub struct Epoch {
    entry: EpochEntry,
    secret: EpochSecret,
    /// Signs a receipt for every action, hence the fastest library.
    signing: Ed25519KeyPair,
    certificate: Digest,
}

/// The key material of an epoch that the signer has not certified yet.
pub struct Candidate {
    /// Its id.
    pub id: EpochId,
    secret: Secret,
    seed: Secret,
}

impl Candidate {
    /// Generates new key material.
    #[must_use]
    pub fn generate(now: Timestamp) -> Self {
        Self {
            id: ids::epoch_id(now),
            secret: Secret(ids::random()),
            seed: Secret(ids::random()),
        }
    }

    /// Returns the public key to be certified.
    ///
    /// # Errors
    /// The library cannot create the key.
    pub fn public_key(&self) -> Result<[u8; 32], NoKey> {
        public_key(&signing_key(&self.seed)?)
    }

    /// Adds the signer's certificate.
    #[must_use]
    pub fn certified(self, certificate: DelegationCertificate) -> EpochEntry {
        EpochEntry {
            id: self.id,
            secret: self.secret,
            seed: self.seed,
            certificate,
        }
    }
}

impl Epoch {
    /// Creates the epoch that an entry describes.
    ///
    /// # Errors
    /// The key cannot be created, or the certificate is for another epoch or key.
    pub fn from_entry(entry: EpochEntry) -> Result<Self, &'static str> {
        let no_key = |_| "the epoch's key cannot be created";
        let signing = signing_key(&entry.seed).map_err(no_key)?;
        let public = public_key(&signing).map_err(no_key)?;
        let payload = &entry.certificate.payload;
        if payload.epoch != entry.id || payload.public_key != public {
            return Err("the delegation certificate is for another epoch or key");
        }
        Ok(Self {
            secret: EpochSecret::from_bytes(entry.secret.0),
            signing,
            certificate: entry.certificate.id(),
            entry,
        })
    }

    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> EpochId {
        self.entry.id
    }

    /// Returns the time from which it mints no tokens.
    #[must_use]
    pub fn mint_until(&self) -> Timestamp {
        self.entry.certificate.payload.mint_until
    }

    /// Returns the time from which none of its tokens is valid.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.entry.certificate.payload.valid_until
    }

    /// Returns the time at which a successor is due: 5/6 of the minting time.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let payload = &self.entry.certificate.payload;
        let (from, until) = (
            payload.issued_at.unix_millis(),
            payload.mint_until.unix_millis(),
        );
        Timestamp::from_unix_millis(until - (until - from) / 6)
    }

    /// Returns the root key of one task tree.
    #[must_use]
    pub fn root_key(&self, root: TaskId) -> RootKey {
        self.secret.root_key(root)
    }

    /// Signs the receipt for a record that is in the log.
    ///
    /// # Errors
    /// The library cannot sign.
    pub fn receipt(&self, record: RecordId, hash: Digest) -> Result<Receipt, NoKey> {
        Receipt::sign(record, hash, self.certificate, |message| {
            let signature = self.signing.try_sign(message)?;
            signature.as_ref().try_into().map_err(|_| NoKey)
        })
    }

    /// Returns its journal entry.
    #[must_use]
    pub fn entry(&self) -> &EpochEntry {
        &self.entry
    }
}

/// The cryptographic library cannot create or use a key. Does not happen for 32 random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the epoch's key cannot be used")]
pub struct NoKey;

impl From<Unspecified> for NoKey {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

fn signing_key(seed: &Secret) -> Result<Ed25519KeyPair, NoKey> {
    Ed25519KeyPair::from_seed_unchecked(&seed.0).map_err(|_| NoKey)
}

fn public_key(key: &Ed25519KeyPair) -> Result<[u8; 32], NoKey> {
    key.public_key().as_ref().try_into().map_err(|_| NoKey)
}

/// 32 secret bytes. Written only to the journal, which lies on tmpfs; never displayed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub [u8; 32]);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0)))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| serde::de::Error::custom("not base64url"))?;
        let bytes = bytes.as_slice().try_into();
        bytes
            .map(Self)
            .map_err(|_| serde::de::Error::custom("expected 32 bytes"))
    }
}
