//! Denials: the step, the reason, the rule and the alternatives.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason code of a denial; `snake_case` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Step 1: the acting agent or an agent of the lineage is not in the policy.
    AgentUnknown,
    /// Step 1: token, lineage and agent do not match.
    SubjectInconsistent,
    /// Step 1: the agent acts only by tokens that another agent delegated to it.
    DelegatedOnly,
    /// Step 1: the policy no longer accepts a delegation of the lineage.
    DelegationNotAccepted,
    /// Step 2: the target is not in the policy.
    TargetUnknown,
    /// Step 2: the target is disabled.
    TargetDisabled,
    /// Step 2: the service is not in the policy.
    ServiceUnknown,
    /// Step 2: the service is disabled.
    ServiceDisabled,
    /// Step 2: the remote is not in the policy.
    RemoteUnknown,
    /// Step 2: the remote is disabled.
    RemoteDisabled,
    /// Step 3: an agent of the lineage lacks the role on the target.
    RoleNotGranted,
    /// Step 3: the role does not exist on the target.
    RoleNotAllowedOnTarget,
    /// Step 3: an agent of the lineage may not use the method on the service.
    MethodNotGranted,
    /// Step 3: the service does not allow the method for any agent.
    MethodNotAllowedOnService,
    /// Step 3: the service does not allow the path.
    PathNotAllowed,
    /// Step 3: an agent of the lineage may not call the tool of the remote.
    ToolNotGranted,
    /// Step 3: the token does not allow the role on the target, the method on the service or the tool of the remote.
    OutsideEnvelope,
    /// Step 3: the role's certificates must be sealed to one command.
    NotUnsealed,
    /// Step 3: the command is empty or too long, or contains a NUL or the text that proves its start.
    CommandInvalid,
    /// Step 3: the role may not run the command.
    CommandNotAllowed,
    /// Step 4: no time is left, or a duration of zero was requested.
    DurationExhausted,
    /// Step 6: the agent's certificate limit is reached.
    AgentLimit,
    /// Step 7: the certificate limit of all agents together is reached.
    GlobalLimit,
    /// Step 8: a human must approve, and approvals are not available.
    ApprovalUnavailable,
}

impl ReasonCode {
    /// Returns the code as written on the wire and in audit records.
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

/// A refusal as shown to the agent. It hides whether a target, service or remote exists that the agent has no access
/// to; [`Denial::cause`] is for the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    /// The step that refused, 1 to 8.
    pub step: u8,
    /// The reason code.
    pub reason: ReasonCode,
    /// The rule that refused: a key path of the policy, `token envelope`, `token lineage`, or a part of the request.
    pub rule: String,
    /// The explanation in one sentence.
    pub message: String,
    /// Actions that the agent could request instead, such as `web as read`.
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

/// The true cause of a denial, which the agent's answer may hide.
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

    /// Creates the denial of step 4 for a token without remaining lifetime.
    pub(super) fn expired() -> Self {
        let message = "the task's token has expired or expires within a second".to_owned();
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

    /// Returns `answer` with the true cause of this denial. For an object that the subject cannot see, `answer` must
    /// depend only on the action, the subject's own envelope and the names of its lineage, so that it is the same
    /// whether the object does not exist, is granted to others or is disabled.
    pub(super) fn hidden_behind(self, answer: Self) -> Self {
        let withheld = Withheld {
            step: self.step,
            reason: self.reason,
            rule: self.rule,
        };
        Self {
            withheld: Some(Box::new(withheld)),
            ..answer
        }
    }

    pub(super) fn with_alternatives(mut self, alternatives: Vec<String>) -> Self {
        self.alternatives = alternatives;
        self
    }
}

/// Maximum number of alternatives in a denial.
pub(super) const MAX_ALTERNATIVES: usize = 10;
