//! The signer's countersignatures. The signer folds the hashes of the records itself, from its own last head, and signs
//! the result: a log that is rewritten later no longer matches.

use ephyr_names::{Digest, RecordId, Timestamp};
use ephyr_token::sshsig::{self, Namespace, SshsigError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use ssh_key::PublicKey;

/// The head over a log's first records: head 0 is SHA-256("ephyr-checkpoint-v1" ‖ the log id's text),
/// head n is SHA-256(head n-1 ‖ hash of record n).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fold {
    log: RecordId,
    count: u64,
    head: Digest,
}

impl Fold {
    /// Returns the head over zero records of this log.
    #[must_use]
    pub fn new(log: RecordId) -> Self {
        let mut hasher = Sha256::new_with_prefix(b"ephyr-checkpoint-v1");
        hasher.update(log.encode(&mut [0; 26]));
        Self {
            log,
            count: 0,
            head: Digest(hasher.finalize().into()),
        }
    }

    /// Restores an earlier state: `head` over the first `count` records.
    #[must_use]
    pub fn resume(log: RecordId, count: u64, head: Digest) -> Self {
        Self { log, count, head }
    }

    /// Adds the next record's hash.
    pub fn push(&mut self, hash: Digest) {
        let mut hasher = Sha256::new_with_prefix(self.head.0);
        hasher.update(hash.0);
        self.head = Digest(hasher.finalize().into());
        self.count += 1;
    }

    /// Returns the log's id.
    #[must_use]
    pub fn log(&self) -> RecordId {
        self.log
    }

    /// Returns the number of records covered.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the head over these records.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.head
    }
}

/// The signer's statement that it has seen the first `count` records of `log`, ending in `head`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The log's id.
    pub log: RecordId,
    /// Number of records covered.
    pub count: u64,
    /// [`Fold::head`] over these records.
    pub head: Digest,
    /// Time of signing, by the signer's clock.
    pub time: Timestamp,
    /// SSHSIG in its armoured form (OpenSSH PROTOCOL.sshsig), namespace `ephyr-checkpoint`.
    pub signature: String,
}

impl Checkpoint {
    /// Returns the bytes that the signer signs: compact JSON of log, count, head and time.
    #[must_use]
    pub fn signed_bytes(log: RecordId, count: u64, head: Digest, time: Timestamp) -> Vec<u8> {
        // None of the four values can contain a character that JSON escapes.
        format!(r#"{{"log":"{log}","count":{count},"head":"{head}","time":"{time}"}}"#).into_bytes()
    }

    /// Returns the bytes that this checkpoint's signature covers.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        Self::signed_bytes(self.log, self.count, self.head, self.time)
    }

    /// Checks the signature with the CA's public key.
    ///
    /// # Errors
    /// [`SshsigError`] for any other key, namespace or content.
    pub fn verify(&self, ca: &PublicKey) -> Result<(), SshsigError> {
        sshsig::verify(ca, Namespace::Checkpoint, &self.message(), &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_bytes_are_the_checkpoint_json_without_signature() {
        let checkpoint = Checkpoint {
            log: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            count: 7,
            head: Digest([0xab; 32]),
            time: Timestamp::from_unix_millis(1_764_000_000_123),
            signature: "sig".into(),
        };
        let json = serde_json::to_string(&checkpoint).unwrap();
        let without = json.replace(r#","signature":"sig""#, "");
        assert_eq!(checkpoint.message(), without.as_bytes());
    }

    #[test]
    fn head_depends_on_the_log_and_on_every_hash_in_order() {
        let log: RecordId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let head = |log: RecordId, hashes: &[u8]| {
            let mut fold = Fold::new(log);
            hashes
                .iter()
                .for_each(|byte| fold.push(Digest([*byte; 32])));
            (fold.count(), fold.head())
        };
        let first = Sha256::digest(b"ephyr-checkpoint-v101ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(head(log, &[]), (0, Digest(first.into())));
        let next = Sha256::new_with_prefix(first)
            .chain_update([1; 32])
            .finalize();
        assert_eq!(head(log, &[1]), (1, Digest(next.into())));
        assert_ne!(head(log, &[1, 2]), head(log, &[2, 1]));
        assert_ne!(head(RecordId::from_bits(1), &[1]), head(log, &[1]));
    }
}
