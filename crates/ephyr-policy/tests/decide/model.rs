//! A naive model of the eight steps: linear searches over plain lists, every violation collected, no code shared with
//! the crate except names. Random policies, subjects and sequences must get the same answers from both.

use std::collections::BTreeSet;

use ephyr_names::{Timestamp, Ttl};
use ephyr_policy::{
    CertificateKind, Denial, Ledger, ReasonCode, SlotId, SshAction, SshPermit, Subject, authorize,
    preview, reachable,
};
use proptest::prelude::*;

use crate::random::{Ask, Choices, Rules};
use crate::world::{now, policy};

/// An active certificate in the model.
#[derive(Debug, Clone, PartialEq)]
struct ActiveCertificate {
    slot: SlotId,
    agent: String,
    tasks: Vec<u8>,
    target: String,
    role: String,
    kind: CertificateKind,
    expires: Option<i64>,
}

type Violations = BTreeSet<(u8, ReasonCode)>;

/// Returns the duration in seconds and the renewed slot, or every violation.
fn judge(
    rules: &Rules,
    ask: &Ask,
    live: &[ActiveCertificate],
    now: Timestamp,
) -> Result<(u64, Option<SlotId>), Violations> {
    let mut against = subject_violations(rules, ask);
    against.extend(action_violations(rules, ask));
    let (ttl, too_short) = duration(rules, ask, now);
    if too_short {
        against.insert((4, ReasonCode::DurationExhausted));
    }
    let old = live.iter().find(|l| {
        ask.kind == CertificateKind::User
            && l.agent == ask.agent
            && l.tasks.last() == ask.lineage.last().map(|(task, _)| task)
            && l.target == ask.target
            && l.role == ask.role
            && l.kind == ask.kind
    });
    let others = live.iter().filter(|l| Some(l.slot) != old.map(|o| o.slot));
    let own = others.clone().filter(|l| l.agent == ask.agent).count();
    if rules
        .agent(&ask.agent)
        .is_some_and(|agent| own >= agent.limit)
    {
        against.insert((6, ReasonCode::AgentLimit));
    }
    if others.count() >= rules.limit {
        against.insert((7, ReasonCode::GlobalLimit));
    }
    if against.is_empty() {
        Ok((ttl, old.map(|o| o.slot)))
    } else {
        Err(against)
    }
}

/// Returns the true cause, which the subject's answer may hide.
fn cause(denial: &Denial) -> (u8, ReasonCode) {
    let cause = denial.cause();
    (cause.step, cause.reason)
}

/// Step 1.
fn subject_violations(rules: &Rules, ask: &Ask) -> Violations {
    let mut against = Violations::new();
    let names: Vec<&String> = ask.lineage.iter().map(|(_, agent)| agent).collect();
    for name in names.iter().copied().chain([&ask.agent]) {
        if rules.agent(name).is_none() {
            against.insert((1, ReasonCode::AgentUnknown));
        }
    }
    if ask.envelope.is_none() != names.is_empty() {
        against.insert((1, ReasonCode::SubjectInconsistent));
    }
    if names.last().is_some_and(|last| **last != ask.agent) {
        against.insert((1, ReasonCode::SubjectInconsistent));
    }
    let first = names.first().copied().unwrap_or(&ask.agent);
    if rules.agent(first).is_some_and(|agent| agent.delegated_only) {
        against.insert((1, ReasonCode::DelegatedOnly));
    }
    for pair in names.windows(2) {
        let accepts = rules
            .agent(pair[1])
            .is_some_and(|a| a.accepts.contains(pair[0]));
        if pair[0] != pair[1] && !accepts {
            against.insert((1, ReasonCode::DelegationNotAccepted));
        }
    }
    against
}

/// Steps 2, 3 and 8.
fn action_violations(rules: &Rules, ask: &Ask) -> Violations {
    let mut against = Violations::new();
    let Some(target) = rules.targets.iter().find(|t| t.name == ask.target) else {
        against.insert((2, ReasonCode::TargetUnknown));
        return against;
    };
    if !target.enabled {
        against.insert((2, ReasonCode::TargetDisabled));
    }
    let mut auto_approve = target.auto_approve;
    let agents = ask.lineage.iter().map(|(_, agent)| agent);
    for name in agents.chain([&ask.agent]) {
        let grants = rules.agent(name).map(|agent| &agent.grants);
        let grant = grants.and_then(|grants| {
            let exact = grants.iter().find(|g| g.target == ask.target);
            exact.or_else(|| grants.iter().find(|g| g.target == "*"))
        });
        match grant.filter(|grant| grant.roles.contains(&ask.role)) {
            Some(grant) => auto_approve &= grant.auto_approve,
            None => {
                against.insert((3, ReasonCode::RoleNotGranted));
            }
        }
    }
    if !target.roles.contains(&ask.role) {
        against.insert((3, ReasonCode::RoleNotAllowedOnTarget));
    }
    if ask
        .envelope
        .as_ref()
        .is_some_and(|e| !e.allows(&ask.target, &ask.role))
    {
        against.insert((3, ReasonCode::OutsideEnvelope));
    }
    if let Some(role) = rules.roles.iter().find(|r| r.name == ask.role) {
        let confined = role.only_uptime || !auto_approve;
        match ask.kind {
            CertificateKind::User if confined && !role.unsealed => {
                against.insert((3, ReasonCode::NotUnsealed));
            }
            CertificateKind::Exec if role.only_uptime && ask.command != "uptime" => {
                against.insert((3, ReasonCode::CommandNotAllowed));
            }
            _ => {}
        }
    }
    if !auto_approve {
        against.insert((8, ReasonCode::ApprovalUnavailable));
    }
    against
}

/// Step 4.
fn duration(rules: &Rules, ask: &Ask, now: Timestamp) -> (u64, bool) {
    let mut limits = vec![ask.ttl.unwrap_or(rules.default_ttl), rules.max_ttl];
    if let Some(target) = rules.targets.iter().find(|t| t.name == ask.target) {
        limits.extend(target.max_ttl);
    }
    if let Some(envelope) = &ask.envelope {
        let left = (envelope.expires - now.unix_millis()).max(0) / 1000;
        limits.push(left.unsigned_abs());
    }
    if ask.kind == CertificateKind::Exec {
        limits.push(60);
    }
    let ttl = limits.into_iter().min().unwrap();
    (ttl, ttl == 0)
}

/// The state at one point of a random history.
struct History {
    rules: Rules,
    policy: ephyr_policy::Policy,
    ledger: Ledger,
    live: Vec<ActiveCertificate>,
    now: Timestamp,
}

impl History {
    fn step(&mut self, choices: &mut Choices<'_>) {
        self.live
            .retain(|l| l.expires.is_none_or(|e| e > self.now.unix_millis()));
        match choices.pick(10) {
            0 => {
                let seconds = choices.among(&[0, 1, 30, 60, 299, 600]);
                self.now = self.now.after(Ttl::from_secs(*seconds));
            }
            1 if !self.live.is_empty() => {
                let gone = self.live.remove(choices.pick(self.live.len()));
                assert!(self.ledger.release(gone.slot).is_some() || gone.expires.is_some());
            }
            2 => {
                let expired = self.ledger.expire(self.now);
                assert!(
                    expired
                        .iter()
                        .all(|e| e.expires.is_some_and(|at| at <= self.now))
                );
            }
            _ => self.ask(choices),
        }
        self.check_limits();
    }

    fn ask(&mut self, choices: &mut Choices<'_>) {
        let ask = Ask::random(choices, self.now);
        let expected = judge(&self.rules, &ask, &self.live, self.now);
        let (subject, action) = (ask.subject(), ask.action());
        let (policy, ledger) = (&self.policy, &mut self.ledger);
        let asked = preview(policy, ledger, &subject, &action, self.now);
        if let Err(denial) = &asked {
            self.check_hidden(&subject, &action, denial);
        }
        let ledger = &mut self.ledger;
        let asked = asked.map(|granted| granted.ttl()).map_err(|d| cause(&d));
        let decision = authorize(policy, ledger, &subject, &action, self.now);
        let permit = match decision {
            ephyr_policy::Decision::Permit(permit) => Ok(permit),
            ephyr_policy::Decision::Denied(denial) => Err(cause(&denial)),
        };
        assert_eq!(
            asked,
            permit.as_ref().map(SshPermit::ttl).map_err(|d| *d),
            "preview and authorize must agree"
        );
        match (expected, permit) {
            (Ok((ttl, renewed)), Ok(permit)) => {
                assert_eq!(permit.ttl().as_secs(), ttl);
                assert_eq!(permit.replaced().last().map(|e| e.slot), renewed);
                let before = self.live.clone();
                self.live.retain(|l| Some(l.slot) != renewed);
                let renews = ask.kind == CertificateKind::User;
                let expires = self.now.after(permit.ttl());
                self.live.push(ActiveCertificate {
                    slot: permit.slot(),
                    agent: ask.agent,
                    tasks: ask.lineage.iter().map(|(task, _)| *task).collect(),
                    target: ask.target,
                    role: ask.role,
                    kind: ask.kind,
                    expires: renews.then(|| expires.unix_millis()),
                });
                if choices.pick(4) == 0 {
                    self.ledger.abandon(permit.slot());
                    self.live = before;
                } else {
                    self.ledger.confirm(permit.slot(), expires);
                }
            }
            (Err(against), Err((step, reason))) => {
                let first = against.iter().map(|(step, _)| *step).min().unwrap();
                assert_eq!(step, first, "{against:?}");
                assert!(
                    against.contains(&(step, reason)),
                    "{reason} is not among {against:?}"
                );
            }
            (expected, permit) => {
                panic!("the model says {expected:?}, the crate {permit:?}\n{ask:?}")
            }
        }
    }

    /// Checks that a target that the subject cannot see gets the same answer as one that does not exist.
    fn check_hidden(&self, subject: &Subject, action: &SshAction, denial: &Denial) {
        let seen = reachable(&self.policy, subject);
        if seen.iter().any(|seen| seen.target.name == action.target) {
            return;
        }
        let nowhere = SshAction {
            target: "nowhere".parse().unwrap(),
            ..action.clone()
        };
        // The subject already knows what its own token allows.
        let in_token = |action: &SshAction| {
            let envelope = subject.envelope.as_ref();
            envelope.is_none_or(|e| e.allows_ssh(&action.target, &action.role))
        };
        if in_token(action) != in_token(&nowhere) {
            return;
        }
        let (policy, ledger) = (&self.policy, &self.ledger);
        let unknown = preview(policy, ledger, subject, &nowhere, self.now);
        let mut unknown = unknown.unwrap_err();
        unknown.message = unknown.message.replace("nowhere", action.target.as_str());
        assert_eq!(
            serde_json::to_value(denial).unwrap(),
            serde_json::to_value(unknown).unwrap(),
        );
    }

    fn check_limits(&self) {
        let now = self.now;
        let live = |e: &&ephyr_policy::LedgerEntry| e.expires.is_none_or(|at| at > now);
        let counted: Vec<_> = self.ledger.active().filter(live).collect();
        assert!(counted.len() <= self.rules.limit);
        for agent in &self.rules.agents {
            let own = counted.iter().filter(|e| e.agent.as_str() == agent.name);
            assert!(own.count() <= agent.limit);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_histories_agree_with_the_model_and_keep_the_limits(
        bytes in proptest::collection::vec(any::<u8>(), 0..1500)
    ) {
        let mut choices = Choices::new(&bytes);
        let rules = Rules::random(&mut choices);
        let mut history = History {
            policy: policy(&rules.yaml()),
            rules,
            ledger: Ledger::new(),
            live: Vec::new(),
            now: now(),
        };
        while !choices.is_empty() {
            history.step(&mut choices);
        }
    }
}
