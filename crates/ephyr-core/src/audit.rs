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

/// Maximum number of record hashes in one request to the signer.
const CHECKPOINT_RECORDS: usize = ephyr_signer_ipc::MAX_CHECKPOINT_HASHES;

/// The audit log.
#[derive(Clone)]
pub struct Audit {
    writer: Writer,
}

/// Why the log was not countersigned.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The signer refused or cannot be reached.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The signed checkpoint does not match the log, or the log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The signer has countersigned records that the log does not have.
    #[error(
        "the audit log holds {present} records, but the signer has countersigned {signed}: its end was cut off"
    )]
    Truncated {
        /// Number of records that the signer has countersigned.
        signed: u64,
        /// Number of records in the log.
        present: u64,
    },
}

impl Audit {
    /// Opens the log.
    ///
    /// # Errors
    /// [`OpenError`]; the broker must not start.
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
    /// [`AuditError`]; the attempted action must not start.
    pub async fn attempt(&self, kind: AttemptKind, record: Record) -> Result<Attempt, AuditError> {
        self.writer.attempt(kind, record).await
    }

    /// Appends a record and returns once it is on disk.
    ///
    /// # Errors
    /// [`AuditError`]; the recorded effect must not happen.
    pub async fn durable(&self, record: &Record) -> Result<Appended, AuditError> {
        self.writer.durable(record).await
    }

    /// Queues a record, which is on disk within a second. Records that a full queue drops are counted in the log
    /// (`audit_gap`).
    pub fn note(&self, record: Record) {
        let _ = self.writer.append(record);
    }

    /// Returns the underlying writer.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Returns the number of records that are not countersigned.
    #[must_use]
    pub fn uncountersigned(&self) -> u64 {
        let position = self.writer.position();
        position.count.saturating_sub(position.signed)
    }

    /// Requests the signer's countersignature for all records on disk now. Records written meanwhile wait for the next
    /// call: under load this one would otherwise never return and would sign every few records. `now` is the time of
    /// the checkpoint records.
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
                // A crash kept an earlier checkpoint out of the log: continue at the signer's position.
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
