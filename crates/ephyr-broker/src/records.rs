//! Builds audit records: caller, lineage, action and decision.

use ephyr_audit::{
    ActionInfo, ActionKind, Appended, Attempt, AttemptKind, AuditError, DecisionInfo, Event, Record,
};
use ephyr_core::caller::AgentCaller;
use ephyr_core::ids;
use ephyr_policy::{Denial, Purpose, SshAction};
use ephyr_token::Receipt;

use crate::broker::Broker;
use crate::clock;

impl Broker {
    /// Returns a record of an action of the broker itself.
    #[must_use]
    pub fn own_record(&self, event: Event) -> Record {
        let now = clock::now();
        Record::new(ids::record_id(now), now, event, self.policy_hash())
    }

    /// Returns a record of an action of a caller.
    #[must_use]
    pub fn record(&self, event: Event, caller: &AgentCaller) -> Record {
        let mut record = self.own_record(event).with_lineage(caller.lineage());
        record.agent = Some(caller.agent().clone());
        record
    }

    /// Returns a record of a permitted login.
    pub(crate) fn ssh_record(
        &self,
        event: Event,
        caller: &AgentCaller,
        action: &SshAction,
    ) -> Record {
        let mut record = self.record(event, caller);
        record.action = Some(action_info(action));
        record.decision = Some(DecisionInfo {
            step: None,
            reason: "permitted".into(),
            rule: None,
        });
        record
    }

    /// Records a denial with its true cause, which the response to the caller may hide.
    pub(crate) fn note_denial(&self, caller: &AgentCaller, action: &SshAction, denial: &Denial) {
        let cause = denial.cause();
        let mut record = self.record(Event::Denied, caller);
        record.action = Some(action_info(action));
        record.decision = Some(DecisionInfo {
            step: Some(cause.step),
            reason: cause.reason.as_str().into(),
            rule: Some(cause.rule.into()),
        });
        self.audit().note(record);
    }

    /// Records an attempt; returns once it is on disk.
    ///
    /// # Errors
    /// [`AuditError`]: the attempt must not be carried out.
    pub(crate) async fn attempt(
        &self,
        kind: AttemptKind,
        record: Record,
    ) -> Result<Attempt, AuditError> {
        self.audit().attempt(kind, record).await
    }

    /// Signs a receipt: the attempt record was on disk before its effect. `None` if no epoch can sign.
    #[must_use]
    pub fn receipt(&self, appended: Appended) -> Option<Receipt> {
        let epoch = self.state().newest_epoch()?;
        epoch.receipt(appended.id, appended.hash).ok()
    }
}

/// Records the outcome of an attempt, completed by `fill`. Returns the id and hash of the attempt record.
pub(crate) fn finish(attempt: Attempt, fill: impl FnOnce(Record) -> Record) -> Appended {
    let now = clock::now();
    attempt.finish(ids::record_id(now), now, fill)
}

/// Returns the audit description of a login.
#[must_use]
pub fn action_info(action: &SshAction) -> ActionInfo {
    let kind = match action.purpose {
        Purpose::Exec { .. } => ActionKind::Exec,
        Purpose::User => ActionKind::Certificate,
    };
    let mut info = ActionInfo::new(kind);
    info.target = Some(action.target.clone());
    info.role = Some(action.role.clone());
    if let Purpose::Exec { command } = &action.purpose {
        info.command = Some(command.as_str().into());
    }
    info
}
