//! Why an action was refused: the step, the rule, and what could be asked for instead.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Granted, Reachable, SshAction, Subject, Switches, reachable};
use crate::commands::{CommandPolicy, MAX_COMMAND_BYTES};
use crate::model::{Agent, Policy, Role};
use crate::pairing::{Pairing, Unpaired};
use crate::sealed::SEALED_BEGINS;

/// Why an action was refused, in a word; on the wire in `snake_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Step 1: the policy does not know the agent, or one of the lineage.
    AgentUnknown,
    /// Step 1: the agent, or one of the lineage, is frozen.
    AgentFrozen,
    /// Step 1: token, lineage and agent do not belong together.
    SubjectInconsistent,
    /// Step 1: the agent acts only by tokens that another agent delegated to it.
    DelegatedOnly,
    /// Step 1: the policy no longer accepts a delegation of the lineage.
    DelegationNotAccepted,
    /// Step 2: there is no such target.
    TargetUnknown,
    /// Step 2: the target is switched off.
    TargetDisabled,
    /// Step 3: an agent of the lineage lacks the role on the target.
    RoleNotGranted,
    /// Step 3: the role does not exist on the target.
    RoleNotAllowedOnTarget,
    /// Step 3: the token does not allow the role on the target.
    OutsideEnvelope,
    /// Step 3: the role's certificates must be sealed to one command.
    NotUnsealed,
    /// Step 3: the command is empty, too long or has a NUL.
    CommandInvalid,
    /// Step 3: the role may not run the command.
    CommandNotAllowed,
    /// Step 3: the role's commands read no standard input.
    StdinNotAllowed,
    /// Step 4: no time is left, or none was asked for.
    DurationExhausted,
    /// Step 6: the agent has as many certificates as it may.
    AgentLimit,
    /// Step 7: all agents together have as many certificates as they may.
    GlobalLimit,
    /// Step 8: a human must approve, and there is no way to ask one.
    ApprovalUnavailable,
}

impl ReasonCode {
    /// The code as it stands on the wire and in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentUnknown => "agent_unknown",
            Self::AgentFrozen => "agent_frozen",
            Self::SubjectInconsistent => "subject_inconsistent",
            Self::DelegatedOnly => "delegated_only",
            Self::DelegationNotAccepted => "delegation_not_accepted",
            Self::TargetUnknown => "target_unknown",
            Self::TargetDisabled => "target_disabled",
            Self::RoleNotGranted => "role_not_granted",
            Self::RoleNotAllowedOnTarget => "role_not_allowed_on_target",
            Self::OutsideEnvelope => "outside_envelope",
            Self::NotUnsealed => "not_unsealed",
            Self::CommandInvalid => "command_invalid",
            Self::CommandNotAllowed => "command_not_allowed",
            Self::StdinNotAllowed => "stdin_not_allowed",
            Self::DurationExhausted => "duration_exhausted",
            Self::AgentLimit => "agent_limit",
            Self::GlobalLimit => "global_limit",
            Self::ApprovalUnavailable => "approval_unavailable",
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A refusal as shown to the agent. It hides whether a target exists that the agent cannot see; [`Denial::cause`] is
/// for the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    /// The step that refused, 1 to 8.
    pub step: u8,
    /// The reason code.
    pub reason: ReasonCode,
    /// The rule: a key path of the policy, `token envelope`, or what else stood against it.
    pub rule: String,
    /// Why, in a sentence.
    pub message: String,
    /// What the agent could ask for instead, such as `web as read`.
    pub alternatives: Vec<String>,
    /// The true cause, if the agent gets a different answer.
    #[serde(skip)]
    withheld: Option<Box<Withheld>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Withheld {
    step: u8,
    reason: ReasonCode,
    rule: String,
}

/// The true cause of a denial, whatever the agent's answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause<'a> {
    /// The step that refused, 1 to 8.
    pub step: u8,
    /// The reason code.
    pub reason: ReasonCode,
    /// The rule.
    pub rule: &'a str,
}

impl Denial {
    fn new(step: u8, reason: ReasonCode, rule: String, message: String) -> Self {
        Self {
            step,
            reason,
            rule,
            message,
            alternatives: Vec::new(),
            withheld: None,
        }
    }

    /// Returns the true cause, for the audit log and operators, not for the agent.
    #[must_use]
    pub fn cause(&self) -> Cause<'_> {
        match &self.withheld {
            Some(withheld) => Cause {
                step: withheld.step,
                reason: withheld.reason,
                rule: &withheld.rule,
            },
            None => Cause {
                step: self.step,
                reason: self.reason,
                rule: &self.rule,
            },
        }
    }

    /// Returns the denial with the answer of `told`, keeping the true cause.
    fn told_as(self, told: Self) -> Self {
        let withheld = Withheld {
            step: self.step,
            reason: self.reason,
            rule: self.rule,
        };
        Self {
            withheld: Some(Box::new(withheld)),
            ..told
        }
    }

    fn or_else(mut self, alternatives: Vec<String>) -> Self {
        self.alternatives = alternatives;
        self
    }
}

/// At most so many alternatives are named.
const MOST_ALTERNATIVES: usize = 10;

/// Completes a denial of step 2 or 3: lists what the subject may use, the requested target's other roles first, and
/// hides whether a target exists that the subject cannot see.
///
/// The answer then depends only on the action, the subject's own envelope and the names of its lineage, so it is the
/// same for a target that does not exist, one granted to others and one switched off.
fn told(policy: &Policy, subject: &Subject, action: &SshAction, denial: Denial) -> Denial {
    let seen = reachable(policy, &Switches::default(), subject);
    let is_seen = seen.iter().any(|seen| seen.target.name == action.target);
    let denial = if is_seen {
        denial
    } else {
        let told = match &subject.envelope {
            Some(envelope) if !envelope.allows_ssh(&action.target, &action.role) => {
                not_in_envelope(action)
            }
            _ => not_granted(subject, action),
        };
        denial.told_as(told)
    };
    denial.or_else(others(&seen, action))
}

/// What the subject may use, the asked target's other roles first.
fn others(seen: &[Reachable<'_>], action: &SshAction) -> Vec<String> {
    let mut list: Vec<(bool, String)> = seen
        .iter()
        .filter(|reachable| reachable.enabled)
        .flat_map(|reachable| {
            let target = &reachable.target.name;
            let elsewhere = *target != action.target;
            reachable
                .roles
                .iter()
                .map(move |role| (elsewhere, format!("{target} as {}", role.name)))
        })
        .collect();
    list.sort();
    list.truncate(MOST_ALTERNATIVES);
    list.into_iter().map(|(_, text)| text).collect()
}

/// Returns the denial for a missing grant; its text also fits a target that does not exist.
fn not_granted(subject: &Subject, action: &SshAction) -> Denial {
    let agent = &subject.agent;
    let is_alone = subject.agents().all(|other| other == agent);
    let or_above = if is_alone {
        ""
    } else {
        ", or an agent above it in the task's lineage,"
    };
    let message = format!(
        "agent `{agent}`{or_above} has no role `{}` on a target `{}`; list_targets shows the targets and roles available to you",
        action.role, action.target
    );
    Denial::new(
        3,
        ReasonCode::RoleNotGranted,
        format!("agents.{agent}.ssh"),
        message,
    )
}

/// Returns the denial for a target outside the token, whether or not the target exists.
fn not_in_envelope(action: &SshAction) -> Denial {
    let message = format!(
        "the task's token does not allow role `{}` on `{}`",
        action.role, action.target
    );
    let rule = "token envelope".into();
    Denial::new(3, ReasonCode::OutsideEnvelope, rule, message)
}

pub(super) fn unpaired(
    policy: &Policy,
    subject: &Subject,
    action: &SshAction,
    why: Unpaired,
) -> Denial {
    let message = why.to_string();
    let (step, reason, rule) = match why {
        Unpaired::AgentUnknown(_) => (1, ReasonCode::AgentUnknown, "agents".to_owned()),
        Unpaired::LineageMismatch(_) => (
            1,
            ReasonCode::SubjectInconsistent,
            "token lineage".to_owned(),
        ),
        Unpaired::DelegatedOnly(agent) => (
            1,
            ReasonCode::DelegatedOnly,
            format!("agents.{agent}.delegated_only"),
        ),
        Unpaired::DelegationNotAccepted { to, .. } => (
            1,
            ReasonCode::DelegationNotAccepted,
            format!("agents.{to}.accept_delegation_from"),
        ),
        Unpaired::TargetUnknown(_) => (2, ReasonCode::TargetUnknown, "targets".to_owned()),
        Unpaired::TargetDisabled(target) => (
            2,
            ReasonCode::TargetDisabled,
            format!("targets.{target}.enabled"),
        ),
        Unpaired::RoleNotGranted { agent, grant, .. } => (
            3,
            ReasonCode::RoleNotGranted,
            grant.map_or_else(|| format!("agents.{agent}.ssh"), |path| path + ".roles"),
        ),
        Unpaired::RoleNotAllowedOnTarget { target, .. } => (
            3,
            ReasonCode::RoleNotAllowedOnTarget,
            format!("targets.{target}.allowed_roles"),
        ),
    };
    let denial = Denial::new(step, reason, rule, message);
    if step == 1 {
        denial
    } else {
        told(policy, subject, action, denial)
    }
}

pub(super) fn frozen(subject: &Subject) -> Denial {
    let message = format!(
        "agent `{}` is frozen; an operator can thaw it",
        subject.agent
    );
    Denial::new(1, ReasonCode::AgentFrozen, "freeze".into(), message)
}

pub(super) fn inconsistent() -> Denial {
    let message = "a lineage and an envelope come together, from one token, or not at all".into();
    Denial::new(
        1,
        ReasonCode::SubjectInconsistent,
        "token envelope".into(),
        message,
    )
}

pub(super) fn switched_off(policy: &Policy, subject: &Subject, action: &SshAction) -> Denial {
    let message = format!("target `{}` is switched off by an operator", action.target);
    let denial = Denial::new(2, ReasonCode::TargetDisabled, "switches".into(), message);
    let mut denial = told(policy, subject, action, denial);
    let on_it = format!("{} as ", action.target);
    denial.alternatives.retain(|text| !text.starts_with(&on_it));
    denial
}

pub(super) fn outside_envelope(policy: &Policy, subject: &Subject, action: &SshAction) -> Denial {
    told(policy, subject, action, not_in_envelope(action))
}

pub(super) fn not_unsealed(pairing: &Pairing<'_>) -> Denial {
    let role = &pairing.role.name;
    let (rule, why) = if pairing.role.commands.is_some() {
        (format!("roles.{role}.commands"), "has a command policy")
    } else {
        (
            format!("targets.{}.auto_approve", pairing.target.name),
            "needs approval",
        )
    };
    let message = format!(
        "role `{role}` {why}, so its certificates are sealed to one command; use exec (or set \
         roles.{role}.unsealed)"
    );
    Denial::new(3, ReasonCode::NotUnsealed, rule, message).or_else(vec!["exec".into()])
}

pub(super) fn bad_command() -> Denial {
    let message = format!("a command has 1 to {MAX_COMMAND_BYTES} bytes and no NUL among them");
    Denial::new(3, ReasonCode::CommandInvalid, "command".into(), message)
}

pub(super) fn command_with_proof() -> Denial {
    let message = format!(
        "a command must not contain `{}`: that text proves to the broker that a command began",
        SEALED_BEGINS.trim_end()
    );
    Denial::new(3, ReasonCode::CommandInvalid, "command".into(), message)
}

pub(super) fn command_not_allowed(role: &Role) -> Denial {
    let message = format!(
        "role `{}` may run only the commands of its list; a command with quotes, variables, pipes or \
         other shell syntax matches no pattern",
        role.name
    );
    let patterns = role.commands.iter().flat_map(CommandPolicy::patterns);
    Denial::new(
        3,
        ReasonCode::CommandNotAllowed,
        format!("roles.{}.commands", role.name),
        message,
    )
    .or_else(patterns.take(MOST_ALTERNATIVES).collect())
}

pub(super) fn stdin_not_allowed(role: &Role) -> Denial {
    let message =
        "standard input is not passed to commands yet; write the data to a file on the target first".to_owned();
    Denial::new(
        3,
        ReasonCode::StdinNotAllowed,
        format!("roles.{}.stdin", role.name),
        message,
    )
}

pub(super) fn no_time_left(action: &SshAction) -> Denial {
    let (rule, message) = if action.ttl.is_some_and(ephyr_names::Ttl::is_zero) {
        ("ttl", "a certificate of no duration was asked for")
    } else {
        (
            "token envelope",
            "the task's token has expired or is about to",
        )
    };
    Denial::new(
        4,
        ReasonCode::DurationExhausted,
        rule.into(),
        message.into(),
    )
}

pub(super) fn agent_limit(agent: &Agent) -> Denial {
    let message = format!(
        "agent `{}` has its {} certificates out; wait for one to end or release one",
        agent.name, agent.max_concurrent_certs
    );
    Denial::new(
        6,
        ReasonCode::AgentLimit,
        format!("agents.{}.max_concurrent_certs", agent.name),
        message,
    )
}

pub(super) fn global_limit(policy: &Policy) -> Denial {
    let message = format!(
        "all agents together have {} certificates out; try again when one has ended",
        policy.global.max_active_certs
    );
    Denial::new(
        7,
        ReasonCode::GlobalLimit,
        "global.max_active_certs".into(),
        message,
    )
}

pub(super) fn approval_unavailable(granted: &Granted<'_>) -> Denial {
    let message = format!(
        "role `{}` on `{}` needs a human's approval, and approvals cannot be asked for",
        granted.role.name, granted.target.name
    );
    let rule = if granted.target.auto_approve {
        match granted.agent.ssh.on(&granted.target.name) {
            Some(grant) if !grant.auto_approve => format!("{}.auto_approve", grant.path),
            _ => "token lineage".into(),
        }
    } else {
        format!("targets.{}.auto_approve", granted.target.name)
    };
    Denial::new(8, ReasonCode::ApprovalUnavailable, rule, message)
}
