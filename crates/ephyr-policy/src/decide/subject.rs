//! Step 1: the acting agent, its token's lineage and its envelope.

use std::sync::Arc;

use ephyr_names::{AgentName, Digest, TaskId, Timestamp};
use ephyr_token::Envelope;

use super::denial::{Denial, ReasonCode};
use crate::model::{Agent, Policy};

/// The authenticated agent that requests an action.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The acting agent, identified by UID, API key or verified token.
    pub agent: AgentName,
    /// The tasks of its token with their agents, the root first; empty without a token.
    pub lineage: Vec<(TaskId, AgentName)>,
    /// The limits of its token; present exactly if `lineage` is not empty.
    pub envelope: Option<Envelope>,
}

impl Subject {
    /// Creates a subject for an agent that acts without a token.
    #[must_use]
    pub fn direct(agent: AgentName) -> Self {
        Self {
            agent,
            lineage: Vec::new(),
            envelope: None,
        }
    }

    /// Returns the task in which the agent acts.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.lineage.last().map(|(task, _)| *task)
    }

    pub(super) fn agents(&self) -> impl Iterator<Item = &AgentName> + Clone {
        self.lineage.iter().map(|(_, agent)| agent)
    }

    /// Returns whether lineage and envelope are both present or both absent. A token's envelope narrows the policy,
    /// so a token without envelope must not be treated as no token.
    fn is_consistent(&self) -> bool {
        self.envelope.is_some() != self.lineage.is_empty()
    }
}

/// The part that all permits share: the agent, the policy and the time of the decision.
#[derive(Debug)]
pub struct Authorization {
    agent: Arc<Agent>,
    lineage: Vec<(TaskId, AgentName)>,
    decided: Timestamp,
    policy: Digest,
}

impl Authorization {
    /// Returns the acting agent.
    #[must_use]
    pub fn agent(&self) -> &AgentName {
        &self.agent.name
    }

    /// Returns the tasks of the token with their agents, the root first; empty without a token.
    #[must_use]
    pub fn lineage(&self) -> &[(TaskId, AgentName)] {
        &self.lineage
    }

    /// Returns the task in which the agent acts.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.lineage.last().map(|(task, _)| *task)
    }

    /// Returns the root of that task.
    #[must_use]
    pub fn root(&self) -> Option<TaskId> {
        self.lineage.first().map(|(task, _)| *task)
    }

    /// Returns the time of the decision.
    #[must_use]
    pub fn decided(&self) -> Timestamp {
        self.decided
    }

    /// Returns the hash of the policy that allowed the action.
    #[must_use]
    pub fn policy_hash(&self) -> Digest {
        self.policy
    }
}

/// A request that has passed step 1.
pub struct Request<'p, 's> {
    pub(super) policy: &'p Policy,
    pub(super) subject: &'s Subject,
    pub(super) acting: &'p Arc<Agent>,
    pub(super) now: Timestamp,
}

impl<'p, 's> Request<'p, 's> {
    /// Step 1.
    pub(super) fn new(
        policy: &'p Policy,
        subject: &'s Subject,
        now: Timestamp,
    ) -> Result<Self, Denial> {
        let acting = check_lineage(policy, &subject.agent, subject.agents())
            .map_err(|error| lineage_denial(&error))?;
        if !subject.is_consistent() {
            return Err(inconsistent());
        }
        Ok(Self {
            policy,
            subject,
            acting,
            now,
        })
    }

    /// Returns the other agents of the lineage.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &'p Arc<Agent>> {
        let acting = &self.acting.name;
        self.subject
            .agents()
            .filter(move |agent| *agent != acting)
            .filter_map(|agent| self.policy.agent_index.get(agent))
    }

    /// Returns the acting agent and the other agents of the lineage.
    pub(super) fn agents(&self) -> impl Iterator<Item = &'p Arc<Agent>> {
        std::iter::once(self.acting).chain(self.ancestors())
    }

    pub(super) fn envelope(&self) -> Option<&'s Envelope> {
        self.subject.envelope.as_ref()
    }

    pub(super) fn authorization(&self) -> Authorization {
        Authorization {
            agent: Arc::clone(self.acting),
            lineage: self.subject.lineage.clone(),
            decided: self.now,
            policy: self.policy.hash(),
        }
    }
}

/// Why an agent may not act under a lineage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineageError {
    /// An agent is not in the policy.
    #[error("the policy has no agent `{0}`")]
    AgentUnknown(AgentName),
    /// The lineage does not end with the acting agent.
    #[error("the lineage does not end with agent `{0}`")]
    Mismatch(AgentName),
    /// An agent that acts only by delegated tokens has none.
    #[error("agent `{0}` acts only by tokens that another agent delegated to it")]
    DelegatedOnly(AgentName),
    /// The policy does not accept a delegation of the lineage.
    #[error("agent `{to}` does not accept delegation from `{from}`")]
    DelegationNotAccepted {
        /// The agent that delegated.
        from: AgentName,
        /// The agent that received the delegation.
        to: AgentName,
    },
}

impl Policy {
    pub(super) fn find_agent(&self, name: &AgentName) -> Result<&Arc<Agent>, LineageError> {
        let found = self.agent_index.get(name);
        found.ok_or_else(|| LineageError::AgentUnknown(name.clone()))
    }
}

/// Checks that every agent is known and that every recipient accepts its delegation. Returns the acting agent.
pub(super) fn check_lineage<'p, 'a>(
    policy: &'p Policy,
    agent: &'a AgentName,
    lineage: impl Iterator<Item = &'a AgentName>,
) -> Result<&'p Arc<Agent>, LineageError> {
    let acting = policy.find_agent(agent)?;
    let mut last: Option<&Arc<Agent>> = None;
    for name in lineage {
        let this = match last {
            Some(last) if last.name == *name => last,
            _ => policy.find_agent(name)?,
        };
        match last {
            None if this.delegated_only => return Err(LineageError::DelegatedOnly(name.clone())),
            Some(from)
                if from.name != this.name && !this.accept_delegation_from.contains(&from.name) =>
            {
                return Err(LineageError::DelegationNotAccepted {
                    from: from.name.clone(),
                    to: name.clone(),
                });
            }
            _ => {}
        }
        last = Some(this);
    }
    match last {
        None if acting.delegated_only => Err(LineageError::DelegatedOnly(agent.clone())),
        Some(last) if last.name != acting.name => Err(LineageError::Mismatch(agent.clone())),
        _ => Ok(acting),
    }
}

/// Returns the denial of step 1 for a lineage error.
pub(super) fn lineage_denial(error: &LineageError) -> Denial {
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

fn inconsistent() -> Denial {
    let message = "the token's lineage and envelope must both be present or both absent".into();
    Denial::new(
        1,
        ReasonCode::SubjectInconsistent,
        "token envelope".into(),
        message,
    )
}
