//! What is decided about: who asks for what.

use ephyr_names::{AgentName, Digest, RoleName, TargetName, TaskId, Ttl};
use ephyr_token::Envelope;

use crate::ledger::Kind;

/// Who asks, as far as it has been proven.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The agent that acts: named by UID, API key or verified token.
    pub agent: AgentName,
    /// The tasks of its token with their agents, the root first; empty without a token.
    pub lineage: Vec<(TaskId, AgentName)>,
    /// What its token allows; present exactly if `lineage` is not empty.
    pub envelope: Option<Envelope>,
    /// Whether the agent, or any agent of the lineage, is frozen.
    pub frozen: bool,
}

impl Subject {
    /// An agent that acts in its own name, without a token.
    #[must_use]
    pub fn direct(agent: AgentName) -> Self {
        Self {
            agent,
            lineage: Vec::new(),
            envelope: None,
            frozen: false,
        }
    }

    /// The task it acts in.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.lineage.last().map(|(task, _)| *task)
    }

    pub(super) fn agents(&self) -> impl Iterator<Item = &AgentName> + Clone {
        self.lineage.iter().map(|(_, agent)| agent)
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// To log in to a target.
    Ssh(SshAction),
}

/// A login to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAction {
    /// The target.
    pub target: TargetName,
    /// The role on it.
    pub role: RoleName,
    /// What for.
    pub purpose: Purpose,
    /// How long the certificate should live; `None`: the policy's default.
    pub ttl: Option<Ttl>,
}

/// What a login is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// One command.
    Exec {
        /// The command, as the account's shell gets it.
        command: String,
        /// SHA-256 of what the command reads on standard input; `None`: nothing.
        stdin_digest: Option<Digest>,
    },
    /// A session that the broker keeps open.
    Session,
    /// A certificate in the agent's hands.
    User,
    /// A trial login.
    Check,
}

impl Purpose {
    /// What a slot is held for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Exec { .. } => Kind::Exec,
            Self::Session => Kind::Session,
            Self::User => Kind::User,
            Self::Check => Kind::Check,
        }
    }

    /// Whether the certificate is sealed to one command.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self, Self::Exec { .. } | Self::Check)
    }
}
