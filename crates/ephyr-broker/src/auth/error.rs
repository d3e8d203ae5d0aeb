//! Authentication errors: message, reason code, and whether the failure looks like guessing.

use ephyr_core::tokens::TokenRefusal;
use ephyr_names::AgentName;

/// Why a request was not authenticated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The request has no credential.
    #[error(
        "no credential: send `Authorization: Bearer` with an API key (eph_…) or a task token (mac_…)"
    )]
    Missing,
    /// The header holds neither an API key nor a task token.
    #[error("the Authorization header is not `Bearer eph_…` or `Bearer mac_…`")]
    Malformed,
    /// An API key or a token with an invalid character.
    #[error(
        "the {what} has {stray}; was it copied with quotes, or read from a file with a line break?"
    )]
    Stray {
        /// `API key` or `task token`.
        what: &'static str,
        /// The invalid characters and their position.
        stray: &'static str,
    },
    /// An API key on the Unix socket.
    #[error(
        "an API key is not used on the Unix socket: there your UID says who you are; leave the key out"
    )]
    KeyOnSocket,
    /// The UID belongs to no agent.
    #[error("UID {0} is no agent of the policy; an operator adds it under agents.<name>.uid")]
    UnknownUid(u32),
    /// The API key is wrong.
    #[error("the API key is not valid")]
    WrongKey,
    /// Too many keys are being tried.
    #[error("too many API keys are being tried; try again in {0} s")]
    Busy(u32),
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// The policy no longer contains the token's agent.
    #[error("the policy no longer knows the agent that this token is for")]
    AgentUnknown,
    /// The token's agent has a UID other than the peer's.
    #[error("this token is for agent {0}, whose UID is not yours")]
    NotYourToken(AgentName),
    /// An unbound token over TCP, of an agent that lives on the appliance.
    #[error(
        "agent {0} lives on the appliance: use its token over the Unix socket, or bind it to a key \
         (holder_pub_key) and send Ephyr-Proof"
    )]
    TokenNeedsSocket(AgentName),
    /// An unbound token of an agent whose tokens must be bound.
    #[error(
        "the policy wants the tokens of agent {0} bound to a key (require_pop), and this one is not: create a new \
         task with holder_pub_key"
    )]
    HolderRequired(AgentName),
    /// A bound token without a valid proof.
    #[error("{0}")]
    Proof(String),
}

impl AuthError {
    /// Returns the reason code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "credential_missing",
            Self::Malformed | Self::Stray { .. } => "credential_malformed",
            Self::KeyOnSocket => "key_on_socket",
            Self::UnknownUid(_) => "uid_unknown",
            Self::WrongKey => "key_invalid",
            Self::Busy(_) => "too_many_attempts",
            Self::Token(refusal) => refusal.code(),
            Self::AgentUnknown => "agent_unknown",
            Self::NotYourToken(_) => "not_your_token",
            Self::TokenNeedsSocket(_) => "token_needs_socket",
            Self::HolderRequired(_) => "holder_required",
            Self::Proof(_) => "proof_invalid",
        }
    }

    /// Returns whether the failure looks like guessing, so that its answer is delayed.
    #[must_use]
    pub fn is_guess(&self) -> bool {
        match self {
            Self::WrongKey
            | Self::Busy(_)
            | Self::Malformed
            | Self::Stray { .. }
            | Self::AgentUnknown
            | Self::NotYourToken(_)
            | Self::TokenNeedsSocket(_) => true,
            Self::Token(refusal) => refusal.is_guess(),
            Self::Missing
            | Self::KeyOnSocket
            | Self::UnknownUid(_)
            | Self::HolderRequired(_)
            | Self::Proof(_) => false,
        }
    }
}
