//! Why a task was not made, found or revoked: for people, and as a code for programs. What a caller may not
//! know (whether somebody else's task is there) does not stand in it.

use ephyr_audit::AuditError;
use ephyr_core::state::StateError;
use ephyr_names::{AgentName, TaskId, Ttl};
use ephyr_token::{MAX_ROOT_TTL, MintError};

/// Why a task was not made, found or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Not there, over, or somebody else's: the three look alike.
    #[error("task {0} is not there: it never was, has ended, or is not yours; see task_list")]
    NotFound(TaskId),
    /// A token's holder asked for a root.
    #[error(
        "a task token makes no root task: call task_create with your API key, or over the Unix socket without a token"
    )]
    TokenMakesNoRoot,
    /// The agent acts only by delegated tokens.
    #[error("agent {0} acts only by tokens that another agent delegates to it (delegated_only)")]
    DelegatedOnly(AgentName),
    /// Tokens of this agent must be bound.
    #[error("agent {0} needs bound tokens (require_pop): give holder_pub_key")]
    HolderRequired(AgentName),
    /// The policy does not know the agent any more.
    #[error("the policy does not know agent {0}")]
    AgentUnknown(AgentName),
    /// Delegation and binding need the token of the task that they are about.
    #[error(
        "call it with the token of the task itself: a child is made of its parent's token, a bound token of the unbound one"
    )]
    TokenRequired,
    /// The token is another task's.
    #[error(
        "the token is for task {0}; a child is made below, and a key bound to, the token's own task"
    )]
    NotYourTask(TaskId),
    /// The token was narrowed by a holder, so it can neither bind nor revoke.
    #[error(
        "a narrowed token can neither bind nor revoke a task: use the token as the broker issued it, or revoke \
         without a token, as the agent that started the task; delegate a task of its own to a helper that must \
         bind or revoke (task_delegate with envelope)"
    )]
    NarrowedToken,
    /// The agent does not take delegations from this one.
    #[error("agent {to} accepts no delegation from {from} (accept_delegation_from)")]
    DelegationNotAccepted {
        /// Who delegates.
        from: AgentName,
        /// To whom.
        to: AgentName,
    },
    /// The child would live longer than its parent.
    #[error("ttl must be between 1s and what is left of the parent, {0}")]
    ChildTtl(Ttl),
    /// Whoever binds must prove that it has the key.
    #[error("{0}")]
    Proof(String),
    /// Too long, or no time at all.
    #[error("ttl must be between 1s and {MAX_ROOT_TTL}")]
    Ttl,
    /// No epoch may mint.
    #[error(
        "no token can be made now: the signer has not delegated to this broker; is ephyr-signer running?"
    )]
    NoEpoch,
    /// The token could not be made.
    #[error("the token cannot be made: {0}")]
    Mint(#[from] MintError),
    /// The state could not be changed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The audit log could not be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl TaskError {
    /// Why, for programs.
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
    pub fn told(self, caller: &AgentName) -> Self {
        match self {
            Self::AgentUnknown(to) if to != *caller => Self::DelegationNotAccepted {
                from: caller.clone(),
                to,
            },
            other => other,
        }
    }
}
