//! The broker's audit log: attempts, records, and the signer's countersignature.

use std::path::Path;

use ephyr_audit::{
    Appended, Attempt, AttemptKind, AuditError, Checkpoint, Event, OpenError, OpenReport, Record,
    Writer, WriterOptions,
};
use ephyr_names::{Digest, Timestamp};
use ephyr_signer_ipc::ErrorCode;

use crate::ids;
use crate::signer::{Signer, SignerError};

/// Most record hashes in one request to the signer.
const CHECKPOINT_RECORDS: usize = ephyr_signer_ipc::MAX_CHECKPOINT_HASHES;

/// The audit log.
#[derive(Clone)]
pub struct Audit {
    writer: Writer,
}

/// Why the signer's countersignature is not in the log.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The signer refused or cannot be reached.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// What it signed does not fit the log, or the log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The signer has folded records that the log does not have.
    #[error(
        "the signer has countersigned {signed} records of this log, which has {present}: its end was cut off"
    )]
    Truncated {
        /// Records that the signer folded.
        signed: u64,
        /// Records that are there.
        present: u64,
    },
}

impl Audit {
    /// Opens the log.
    ///
    /// # Errors
    /// [`OpenError`]; the broker must not start then.
    pub fn open(
        path: &Path,
        rotate_at: u64,
        policy: Digest,
    ) -> Result<(Self, OpenReport), OpenError> {
        let options = WriterOptions {
            rotate_at: Some(rotate_at),
            ..WriterOptions::new(policy)
        };
        let (writer, report) = Writer::open(path, &options)?;
        Ok((Self { writer }, report))
    }

    /// Records an attempt and returns once it is on disk.
    ///
    /// # Errors
    /// [`AuditError`]: nothing of the attempt may happen then.
    pub async fn attempt(&self, kind: AttemptKind, record: Record) -> Result<Attempt, AuditError> {
        self.writer.attempt(kind, record).await
    }

    /// Appends a record and returns once it is on disk.
    ///
    /// # Errors
    /// [`AuditError`]: nothing that the record announces may happen then.
    pub async fn durable(&self, record: &Record) -> Result<Appended, AuditError> {
        self.writer.durable(record).await
    }

    /// Notes a record; it is on disk within a second. What a full queue drops, the log itself counts and
    /// tells (`audit_gap`).
    pub fn note(&self, record: Record) {
        let _ = self.writer.append(record);
    }

    /// The writer beneath.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Whether `wanted` records, or any after a while, wait for the signer's countersignature.
    #[must_use]
    pub fn uncountersigned(&self) -> u64 {
        let position = self.writer.position();
        position.count.saturating_sub(position.signed)
    }

    /// Requests the signer's countersignature for all that is on disk now. Records written meanwhile wait for the next
    /// time: under load there would be no end otherwise, and a signature for every few records. `now` is the time of the
    /// records about it.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub async fn checkpoint(
        &self,
        signer: &Signer,
        policy: Digest,
        now: Timestamp,
    ) -> Result<(), CheckpointError> {
        let mut from = None;
        let all = self.writer.position().count;
        while from.is_some() || self.writer.position().signed < all {
            let writer = self.writer.clone();
            let unsigned = tokio::task::spawn_blocking(move || match from {
                Some(from) => writer.unsigned_from(from, CHECKPOINT_RECORDS),
                None => writer.unsigned(CHECKPOINT_RECORDS),
            });
            let Some(unsigned) = unsigned.await.unwrap_or_default() else {
                return Ok(());
            };
            match signer.checkpoint(unsigned).await {
                Ok(checkpoint) => {
                    self.record_checkpoint(checkpoint, policy, now).await?;
                    from = None;
                }
                // A crash kept an earlier checkpoint from being recorded: go on where the signer stands.
                Err(SignerError::Refused {
                    code: ErrorCode::CheckpointMismatch,
                    expected: Some(at),
                    ..
                }) if from.is_none() => {
                    let present = self.writer.position().count;
                    if at > present {
                        return Err(CheckpointError::Truncated {
                            signed: at,
                            present,
                        });
                    }
                    from = Some(at);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn record_checkpoint(
        &self,
        checkpoint: Checkpoint,
        policy: Digest,
        now: Timestamp,
    ) -> Result<(), AuditError> {
        let writer = self.writer.clone();
        let record = move || writer.record_checkpoint(&checkpoint, now, policy);
        let recorded = tokio::task::spawn_blocking(record).await;
        recorded.unwrap_or(Err(AuditError::Closed)).map(drop)
    }

    /// Records that the signer's countersignature failed.
    pub fn note_checkpoint_failure(&self, error: &CheckpointError, policy: Digest, now: Timestamp) {
        let event = Event::CheckpointFailed;
        let record = Record::new(ids::record_id(now), now, event, policy);
        self.note(record.with_detail("error", error.to_string()));
    }
}
