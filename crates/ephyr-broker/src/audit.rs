//! The broker's end of the audit log: waiting for a record to be on disk without blocking a thread, and
//! having the signer countersign.

use std::path::Path;

use ephyr_audit::{
    Appended, AuditError, Checkpoint, Event, OpenError, OpenReport, Record, Writer, WriterOptions,
};
use ephyr_names::Digest;
use ephyr_signer_ipc::{ErrorCode, Reply, Request};

use crate::clock;
use crate::handover;
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

    /// Puts a record on disk and comes back when it is there.
    ///
    /// # Errors
    /// [`AuditError`]: then nothing that the record announces may happen.
    pub async fn durable(&self, record: &Record) -> Result<Appended, AuditError> {
        let (answer, appended) = handover::answer();
        self.writer
            .append_durable(record, Box::new(move |result| answer.send(result)));
        appended.await.unwrap_or(Err(AuditError::Closed))
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

    /// Has the signer countersign all that is on disk now. What is written meanwhile waits for the next
    /// time: under load there would be no end otherwise, and a signature for every few records.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub async fn checkpoint(&self, signer: &Signer, policy: Digest) -> Result<(), CheckpointError> {
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
            let request = Request::Checkpoint {
                log: unsigned.log,
                from: unsigned.from,
                hashes: unsigned.hashes,
            };
            match signer.ask(&request).await {
                Ok(Reply::Checkpoint {
                    log,
                    count,
                    head,
                    time,
                    signature,
                }) => {
                    let checkpoint = Checkpoint {
                        log,
                        count,
                        head,
                        time,
                        signature,
                    };
                    self.record_checkpoint(checkpoint, policy).await?;
                    from = None;
                }
                Ok(_) => return Err(SignerError::Unexpected.into()),
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
    ) -> Result<(), AuditError> {
        let writer = self.writer.clone();
        let record = move || writer.record_checkpoint(&checkpoint, clock::now(), policy);
        let recorded = tokio::task::spawn_blocking(record).await;
        recorded.unwrap_or(Err(AuditError::Closed)).map(drop)
    }

    /// Notes that the signer's countersignature could not be had.
    pub fn note_checkpoint_failure(&self, error: &CheckpointError, policy: Digest) {
        let now = clock::now();
        let event = Event::CheckpointFailed;
        let record = Record::new(clock::record_id(now), now, event, policy);
        self.note(record.with_detail("error", error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use ephyr_audit::Fold;

    use super::*;
    use crate::testing::{Bench, policy};

    /// A signer that says once that it has seen so many records, and countersigns from then on.
    fn signer(seen: u64) -> impl Fn(Request) -> Reply {
        let said = AtomicBool::new(false);
        move |asked| {
            let Request::Checkpoint { log, from, hashes } = asked else {
                panic!("{asked:?}");
            };
            if !said.swap(true, Ordering::Relaxed) {
                return Reply::Error {
                    code: ErrorCode::CheckpointMismatch,
                    message: "go on from there".to_owned(),
                    expected: Some(seen),
                };
            }
            assert_eq!(from, seen);
            let mut fold = Fold::new(log);
            for hash in hashes {
                fold.push(hash);
            }
            Reply::Checkpoint {
                log,
                count: fold.count(),
                head: fold.head(),
                time: clock::now(),
                signature: "as the log's reader checks it".to_owned(),
            }
        }
    }

    #[tokio::test]
    async fn a_log_of_which_the_signer_has_seen_more_than_there_is_was_cut() {
        for (seen, cut) in [(0, false), (1000, true)] {
            let bench = Bench::new(&policy());
            bench.signer(signer(seen));
            let (audit, broker) = (bench.broker.audit(), &bench.broker);
            let record = broker.own_record(Event::Startup);
            audit.durable(&record).await.unwrap();
            let told = audit
                .checkpoint(broker.signer(), broker.policy_hash())
                .await;
            assert_eq!(told.is_err(), cut, "{told:?}");
            assert_eq!(audit.writer().position().signed > 0, !cut);
            if let Err(error) = told {
                let cut = matches!(error, CheckpointError::Truncated { signed: 1000, .. });
                assert!(cut, "{error}");
            }
        }
    }
}
