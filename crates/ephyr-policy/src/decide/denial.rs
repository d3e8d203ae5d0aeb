//! Why an action was refused: the step, the rule, and what could be asked for instead.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Granted, SshAction, Subject, Switches, reachable};
use crate::commands::{CommandPolicy, MAX_COMMAND_BYTES};
use crate::model::{Agent, Policy, Role};
use crate::pairing::{Pairing, Unpaired};

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

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    /// The step that refused, 1 to 8.
    pub step: u8,
    /// Why, in a word.
    pub reason: ReasonCode,
    /// The rule: a key path of the policy, `token envelope`, or what else stood against it.
    pub rule: String,
    /// Why, in a sentence.
    pub message: String,
    /// What the agent could ask for instead, such as `web as read`.
    pub alternatives: Vec<String>,
}

impl Denial {
    fn new(step: u8, reason: ReasonCode, rule: String, message: String) -> Self {
        Self {
            step,
            reason,
            rule,
            message,
            alternatives: Vec::new(),
        }
    }

    fn or_else(mut self, alternatives: Vec<String>) -> Self {
        self.alternatives = alternatives;
        self
    }
}

/// At most so many alternatives are named.
const MOST_ALTERNATIVES: usize = 10;

/// What the subject may use, the asked target's other roles first.
fn others(policy: &Policy, subject: &Subject, action: &SshAction) -> Vec<String> {
    let mut list: Vec<(bool, String)> = reachable(policy, &Switches::default(), subject)
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
        denial.or_else(others(policy, subject, action))
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
    let others = others(policy, subject, action)
        .into_iter()
        .filter(|text| !text.starts_with(&format!("{} as ", action.target)))
        .collect();
    Denial::new(2, ReasonCode::TargetDisabled, "switches".into(), message).or_else(others)
}

pub(super) fn outside_envelope(policy: &Policy, subject: &Subject, action: &SshAction) -> Denial {
    let message = format!(
        "the task's token does not allow role `{}` on `{}`",
        action.role, action.target
    );
    Denial::new(
        3,
        ReasonCode::OutsideEnvelope,
        "token envelope".into(),
        message,
    )
    .or_else(others(policy, subject, action))
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
