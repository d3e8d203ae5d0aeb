//! Errors of task operations, with a message for people and a code for programs. They do not reveal whether the task
//! of another caller exists.

use ephyr_audit::AuditError;
use ephyr_core::state::StateError;
use ephyr_names::{AgentName, TaskId, Ttl};
use ephyr_token::{MAX_ROOT_TTL, MintError};

/// An error of a task operation.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Unknown, ended, or not visible to the caller: these three are indistinguishable.
    #[error("task {0} not found: it does not exist, has ended, or is not yours; see task_list")]
    NotFound(TaskId),
    /// A root task was requested with a task token.
    #[error(
        "a task token cannot create a root task: call task_create with your API key, or over the Unix socket without a token"
    )]
    TokenMakesNoRoot,
    /// The agent may act only with delegated tokens.
    #[error(
        "agent {0} can act only with tokens that another agent delegates to it (delegated_only)"
    )]
    DelegatedOnly(AgentName),
    /// Tokens of this agent must be bound.
    #[error("agent {0} needs bound tokens (require_pop): set holder_pub_key")]
    HolderRequired(AgentName),
    /// The agent is not in the policy.
    #[error("agent {0} is not in the policy")]
    AgentUnknown(AgentName),
    /// Delegation and binding need the token of the task in question.
    #[error(
        "a task token is required: delegate with the token of the parent, bind with the unbound token of the task"
    )]
    TokenRequired,
    /// The token belongs to another task.
    #[error("the token is for task {0}; it can delegate below and bind only that task")]
    NotYourTask(TaskId),
    /// A holder narrowed the token, so it can neither bind nor revoke.
    #[error(
        "a narrowed token can neither bind nor revoke a task: use the token as the broker issued it, or revoke \
         without a token, as the agent that started the task; for a helper that must bind or revoke, delegate a \
         separate task (task_delegate with envelope)"
    )]
    NarrowedToken,
    /// The agent does not accept delegations from this one.
    #[error("agent {to} does not accept delegations from {from} (accept_delegation_from)")]
    DelegationNotAccepted {
        /// The delegating agent.
        from: AgentName,
        /// The agent that should get the task.
        to: AgentName,
    },
    /// The child would outlive its parent.
    #[error("ttl must be between 1s and the parent's remaining lifetime, {0}")]
    ChildTtl(Ttl),
    /// The proof that the caller holds the key is missing or invalid.
    #[error("{0}")]
    Proof(String),
    /// The lifetime is zero or too long.
    #[error("ttl must be between 1s and {MAX_ROOT_TTL}")]
    Ttl,
    /// No delegation certificate allows minting now.
    #[error(
        "cannot issue tokens: the signer has not delegated to this broker; check that ephyr-signer is running"
    )]
    NoEpoch,
    /// The token could not be minted.
    #[error("cannot mint the token: {0}")]
    Mint(#[from] MintError),
    /// The state could not be changed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The audit log could not be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl TaskError {
    /// Returns the reason code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "task_not_found",
            Self::TokenMakesNoRoot => "token_makes_no_root",
            Self::DelegatedOnly(_) => "delegated_only",
            Self::HolderRequired(_) => "holder_required",
            Self::AgentUnknown(_) => "agent_unknown",
            Self::TokenRequired => "token_required",
            Self::NotYourTask(_) => "not_your_task",
            Self::NarrowedToken => "token_narrowed",
            Self::DelegationNotAccepted { .. } => "delegation_not_accepted",
            Self::Proof(_) => "proof_invalid",
            Self::Ttl | Self::ChildTtl(_) => "ttl_out_of_range",
            Self::NoEpoch => "no_epoch",
            Self::Mint(_) => "mint_refused",
            Self::State(StateError::Revoked(_)) => "task_revoked",
            Self::State(StateError::Gone(_)) => "task_ended",
            Self::State(StateError::BoundOtherwise) => "already_bound",
            Self::State(StateError::TooManyTasks(_) | StateError::TooLongTasks(_)) => {
                "too_many_tasks"
            }
            Self::State(StateError::Journal(_)) => "state_unavailable",
            Self::Audit(_) => "audit_unavailable",
        }
    }

    /// Returns the error as shown to `caller`. It hides which other agents exist: an unknown agent looks like one
    /// that does not accept the delegation.
    #[must_use]
    pub fn redacted_for(self, caller: &AgentName) -> Self {
        match self {
            Self::AgentUnknown(to) if to != *caller => Self::DelegationNotAccepted {
                from: caller.clone(),
                to,
            },
            other => other,
        }
    }
}
