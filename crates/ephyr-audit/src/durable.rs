//! Appends from async tasks: the task waits until its record is on disk, without blocking its thread.

use ephyr_chain::EncodedRecord;

use crate::appended::Appended;
use crate::attempt::{Attempt, AttemptKind, PendingOutcome};
use crate::error::AuditError;
use crate::handover;
use crate::queue::{Delivery, PendingRecord};
use crate::record::Record;
use crate::writer::Writer;

impl Writer {
    /// Appends a record and waits until it is on disk, without blocking the thread.
    ///
    /// # Errors
    /// As for [`Writer::append_durable`].
    pub async fn durable(&self, record: &Record) -> Result<Appended, AuditError> {
        let (answer, appended) = handover::answer();
        self.append_durable(record, Box::new(move |result| answer.send(result)));
        appended.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Records an attempt and waits until it is on disk. The record's event is set to the attempt's.
    ///
    /// # Errors
    /// As for [`Writer::append_durable`]; the action must not take effect then.
    pub async fn attempt(
        &self,
        kind: AttemptKind,
        mut record: Record,
    ) -> Result<Attempt, AuditError> {
        record.event = kind.attempt();
        record.severity = record.event.severity();
        let encoded = EncodedRecord::new(&record)?;
        let (id, policy) = (record.id, record.policy);
        let open = Box::new(PendingOutcome::new(self.clone(), kind, record));
        let (answer, attempt) = handover::answer();
        // The attempt is created on the writer's thread: if the caller is gone, the attempt is dropped there, which
        // records the outcome.
        let done = move |result: Result<Appended, AuditError>| {
            answer.send(result.map(|appended| Attempt::new(appended, open)));
        };
        self.push_durable(PendingRecord {
            id,
            policy,
            encoded,
            delivery: Delivery::Durable(Box::new(done)),
        });
        attempt.await.unwrap_or(Err(AuditError::Closed))
    }
}
