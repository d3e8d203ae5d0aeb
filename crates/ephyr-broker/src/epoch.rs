//! An epoch: the life of one token-minting secret, and of the key that signs receipts.

use ephyr_names::{Digest, EpochId, TaskId, Timestamp};
use ephyr_token::{EpochSecret, EpochSigningKey, RootKey};
use zeroize::Zeroizing;

use crate::clock;
use crate::state::{EpochEntry, Secret};

/// A usable epoch. The secrets within are zeroized when it goes.
pub struct Epoch {
    entry: EpochEntry,
    secret: EpochSecret,
    signing: EpochSigningKey,
    certificate: Digest,
}

/// The key material of an epoch that the signer has not yet certified.
pub struct Candidate {
    /// Its id.
    pub id: EpochId,
    secret: Secret,
    seed: Secret,
}

impl Candidate {
    /// New key material.
    #[must_use]
    pub fn generate(now: Timestamp) -> Self {
        Self {
            id: clock::epoch_id(now),
            secret: Secret(clock::random()),
            seed: Secret(clock::random()),
        }
    }

    /// The public key to be certified.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        signing_key(&self.seed).public_key()
    }

    /// The epoch, once certified.
    #[must_use]
    pub fn certified(self, certificate: ephyr_token::DelegationCertificate) -> EpochEntry {
        EpochEntry {
            id: self.id,
            secret: self.secret,
            seed: self.seed,
            certificate,
        }
    }
}

impl Epoch {
    /// Makes the epoch that an entry describes.
    ///
    /// # Errors
    /// When the certificate is for another epoch or key.
    pub fn from_entry(entry: EpochEntry) -> Result<Self, &'static str> {
        let signing = signing_key(&entry.seed);
        let payload = &entry.certificate.payload;
        if payload.epoch != entry.id || payload.public_key != signing.public_key() {
            return Err("the delegation certificate is for another epoch");
        }
        Ok(Self {
            secret: EpochSecret::from_bytes(entry.secret.0),
            signing,
            certificate: entry.certificate.id(),
            entry,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> EpochId {
        self.entry.id
    }

    /// From when on it mints no more.
    #[must_use]
    pub fn mint_until(&self) -> Timestamp {
        self.entry.certificate.payload.mint_until
    }

    /// From when on all its tokens are dead.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.entry.certificate.payload.valid_until
    }

    /// When a successor is due: at 5/6 of the minting time.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let payload = &self.entry.certificate.payload;
        let (from, until) = (
            payload.issued_at.unix_millis(),
            payload.mint_until.unix_millis(),
        );
        Timestamp::from_unix_millis(until - (until - from) / 6)
    }

    /// The key of one task tree.
    #[must_use]
    pub fn root_key(&self, root: TaskId) -> RootKey {
        self.secret.root_key(root)
    }

    /// The key that signs receipts.
    #[must_use]
    pub fn signing_key(&self) -> &EpochSigningKey {
        &self.signing
    }

    /// The id of its delegation certificate.
    #[must_use]
    pub fn certificate_id(&self) -> Digest {
        self.certificate
    }

    /// What the journal keeps of it.
    #[must_use]
    pub fn entry(&self) -> &EpochEntry {
        &self.entry
    }
}

fn signing_key(seed: &Secret) -> EpochSigningKey {
    EpochSigningKey::from_seed(&Zeroizing::new(seed.0))
}
