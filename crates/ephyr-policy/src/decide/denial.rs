//! Why an action was refused: the step, the rule, and what could be asked for instead.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::subject::LineageError;

/// Why an action was refused, in a word; on the wire in `snake_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Step 1: the policy does not know the agent, or one of the lineage.
    AgentUnknown,
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
    /// Step 2: there is no such service.
    ServiceUnknown,
    /// Step 2: the service is disabled.
    ServiceDisabled,
    /// Step 2: there is no such remote.
    RemoteUnknown,
    /// Step 2: the remote is disabled.
    RemoteDisabled,
    /// Step 3: an agent of the lineage lacks the role on the target.
    RoleNotGranted,
    /// Step 3: the role does not exist on the target.
    RoleNotAllowedOnTarget,
    /// Step 3: an agent of the lineage may not use the method on the service.
    MethodNotGranted,
    /// Step 3: the service is not used with the method.
    MethodNotAllowedOnService,
    /// Step 3: the path is not one that the service may be asked for.
    PathNotAllowed,
    /// Step 3: an agent of the lineage may not call the tool of the remote.
    ToolNotGranted,
    /// Step 3: the token does not allow the role on the target, the method on the service or the tool of the remote.
    OutsideEnvelope,
    /// Step 3: the role's certificates must be sealed to one command.
    NotUnsealed,
    /// Step 3: the command is empty, too long or has a NUL.
    CommandInvalid,
    /// Step 3: the role may not run the command.
    CommandNotAllowed,
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
            Self::SubjectInconsistent => "subject_inconsistent",
            Self::DelegatedOnly => "delegated_only",
            Self::DelegationNotAccepted => "delegation_not_accepted",
            Self::TargetUnknown => "target_unknown",
            Self::TargetDisabled => "target_disabled",
            Self::ServiceUnknown => "service_unknown",
            Self::ServiceDisabled => "service_disabled",
            Self::RemoteUnknown => "remote_unknown",
            Self::RemoteDisabled => "remote_disabled",
            Self::RoleNotGranted => "role_not_granted",
            Self::RoleNotAllowedOnTarget => "role_not_allowed_on_target",
            Self::MethodNotGranted => "method_not_granted",
            Self::MethodNotAllowedOnService => "method_not_allowed_on_service",
            Self::PathNotAllowed => "path_not_allowed",
            Self::ToolNotGranted => "tool_not_granted",
            Self::OutsideEnvelope => "outside_envelope",
            Self::NotUnsealed => "not_unsealed",
            Self::CommandInvalid => "command_invalid",
            Self::CommandNotAllowed => "command_not_allowed",
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
    pub(super) fn new(step: u8, reason: ReasonCode, rule: String, message: String) -> Self {
        Self {
            step,
            reason,
            rule,
            message,
            alternatives: Vec::new(),
            withheld: None,
        }
    }

    /// The refusal of step 4 under a token whose life is over.
    pub(super) fn expired() -> Self {
        let message = "the task's token has expired or is about to".to_owned();
        let rule = "token envelope".to_owned();
        Self::new(4, ReasonCode::DurationExhausted, rule, message)
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

    /// Returns the denial with the answer of `told`, keeping the true cause. For an object that the subject cannot see,
    /// `told` must depend only on the action, the subject's own envelope and the names of its lineage, so that it is
    /// the same whether the object does not exist, is granted to others or is disabled.
    pub(super) fn told_as(self, told: Self) -> Self {
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

    pub(super) fn or_else(mut self, alternatives: Vec<String>) -> Self {
        self.alternatives = alternatives;
        self
    }
}

/// Maximum number of alternatives in a denial.
pub(super) const MOST_ALTERNATIVES: usize = 10;

/// The refusals of step 1.
pub(super) fn of_lineage(error: &LineageError) -> Denial {
    let (reason, rule) = match error {
        LineageError::AgentUnknown(_) => (ReasonCode::AgentUnknown, "agents".to_owned()),
        LineageError::Mismatch(_) => (ReasonCode::SubjectInconsistent, "token lineage".to_owned()),
        LineageError::DelegatedOnly(agent) => (
            ReasonCode::DelegatedOnly,
            format!("agents.{agent}.delegated_only"),
        ),
        LineageError::DelegationNotAccepted { to, .. } => (
            ReasonCode::DelegationNotAccepted,
            format!("agents.{to}.accept_delegation_from"),
        ),
    };
    Denial::new(1, reason, rule, error.to_string())
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
