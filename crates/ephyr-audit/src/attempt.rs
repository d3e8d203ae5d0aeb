//! The two records around an effect: the attempt, on disk before the effect, and its outcome.

use ephyr_names::{AgentName, Digest, RecordId, TaskId, Timestamp};

use crate::appended::Appended;
use crate::clock;
use crate::event::Event;
use crate::record::{ActionInfo, DecisionInfo, Record};
use crate::writer::Writer;

/// The effect that an attempt announces. Each has one event for the attempt and one for the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptKind {
    /// A command on a target.
    Exec,
    /// A certificate for an agent's own use.
    Certificate,
    /// A new task.
    TaskCreate,
    /// A task bound to a key.
    TaskBind,
    /// A task revoked.
    TaskRevoke,
}

impl AttemptKind {
    /// Returns the event of the attempt.
    #[must_use]
    pub fn attempt(self) -> Event {
        match self {
            Self::Exec => Event::ExecAttempt,
            Self::Certificate => Event::CertAttempt,
            Self::TaskCreate => Event::TaskCreateAttempt,
            Self::TaskBind => Event::TaskBindAttempt,
            Self::TaskRevoke => Event::TaskRevokeAttempt,
        }
    }

    /// Returns the event of the outcome.
    #[must_use]
    pub fn outcome(self) -> Event {
        match self {
            Self::Exec => Event::ExecOutcome,
            Self::Certificate => Event::CertOutcome,
            Self::TaskCreate => Event::TaskCreated,
            Self::TaskBind => Event::TaskBound,
            Self::TaskRevoke => Event::TaskRevoked,
        }
    }
}

/// Proof that an attempt is on disk. Every effect outside this process requires one.
///
/// [`Attempt::finish`] records the outcome. Dropping the attempt instead records an outcome with the detail
/// `error` = `aborted`, so every attempt has an outcome.
#[must_use = "a dropped attempt is recorded as aborted; call finish"]
pub struct Attempt {
    appended: Appended,
    /// Taken by [`Attempt::finish`].
    open: Option<Box<PendingOutcome>>,
}

/// The fields of the attempt that the outcome's record repeats.
pub(crate) struct PendingOutcome {
    writer: Writer,
    kind: AttemptKind,
    agent: Option<AgentName>,
    task: Option<TaskId>,
    root: Option<TaskId>,
    lineage: Vec<TaskId>,
    action: Option<ActionInfo>,
    decision: Option<DecisionInfo>,
    policy: Digest,
}

impl Attempt {
    /// Returns the attempt of a record that is on disk.
    pub(crate) fn new(appended: Appended, open: Box<PendingOutcome>) -> Self {
        Self {
            appended,
            open: Some(open),
        }
    }

    /// Returns the attempt's own record, for receipts.
    #[must_use]
    pub fn appended(&self) -> Appended {
        self.appended
    }

    /// Records the outcome with the attempt's agent, task, action and decision; `fill` adds the rest. Returns the
    /// attempt's own record.
    pub fn finish(
        mut self,
        id: RecordId,
        time: Timestamp,
        fill: impl FnOnce(Record) -> Record,
    ) -> Appended {
        if let Some(open) = self.open.take() {
            open.record_outcome(self.appended.id, (id, time), fill);
        }
        self.appended
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let now = clock::now();
            let stamp = (clock::new_record_id(now), now);
            open.record_outcome(self.appended.id, stamp, |record| {
                record.with_detail("error", "aborted")
            });
        }
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Attempt").field(&self.appended.id).finish()
    }
}

impl PendingOutcome {
    pub(crate) fn new(writer: Writer, kind: AttemptKind, record: Record) -> Self {
        Self {
            writer,
            kind,
            agent: record.agent,
            task: record.task,
            root: record.root,
            lineage: record.lineage,
            action: record.action,
            decision: record.decision,
            policy: record.policy,
        }
    }

    fn record_outcome(
        self,
        attempt: RecordId,
        (id, time): (RecordId, Timestamp),
        fill: impl FnOnce(Record) -> Record,
    ) {
        let mut record = Record::new(id, time, self.kind.outcome(), self.policy);
        record.agent = self.agent;
        record.task = self.task;
        record.root = self.root;
        record.lineage = self.lineage;
        record.action = self.action;
        record.decision = self.decision;
        record.attempt = Some(attempt);
        // A full queue drops the record; the log itself counts and reports that (`audit_gap`).
        let _ = self.writer.append(fill(record));
    }
}
