//! Helpers for this crate's tests.

use ephyr_names::{Timestamp, Ttl};
use ephyr_token::{DelegationCertificate, DelegationPayload};
use ssh_key::{PrivateKey, private::Ed25519Keypair};

use crate::epoch::{Candidate, EpochEntry};

/// Returns a certified epoch that may mint for an hour.
pub(crate) fn epoch(now: Timestamp) -> EpochEntry {
    let candidate = Candidate::generate(now);
    let payload = DelegationPayload {
        epoch: candidate.id,
        broker_id: "test".to_owned(),
        public_key: candidate.public_key().unwrap(),
        issued_at: now,
        mint_until: now.after(Ttl::from_secs(3600)),
        valid_until: now.after(Ttl::from_secs(7200)),
    };
    let ca = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    candidate.certified(DelegationCertificate::sign(payload, &ca).unwrap())
}
