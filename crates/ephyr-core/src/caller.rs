//! The caller of a request, after authentication: an agent or an operator.

use std::borrow::Cow;
use std::sync::Arc;

use ephyr_names::{AgentName, Digest, TaskId};
use ephyr_policy::{Policy, Subject};
use ephyr_token::VerifiedToken;

/// The caller of a request.
#[derive(Clone)]
pub enum Caller {
    /// A configured agent, with or without a task.
    Agent(AgentCaller),
    /// A person of the policy's `admins`, or root.
    Operator(Operator),
}

impl Caller {
    /// Returns the caller that a process's UID alone identifies: an agent, an admin of the policy, or root.
    #[must_use]
    pub fn of_uid(policy: &Policy, uid: u32) -> Option<Self> {
        if let Some(agent) = policy.agent_by_uid(uid) {
            return Some(Self::Agent(AgentCaller::by_uid(agent.name.clone(), uid)));
        }
        let is_operator = uid == 0 || policy.admin_by_uid(uid).is_some();
        is_operator.then_some(Self::Operator(Operator { uid }))
    }
}

/// A person who operates the appliance, identified by the UID of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// The UID; 0 is root.
    pub uid: u32,
}

/// An agent, as authenticated for one request. Cheap to clone.
#[derive(Clone)]
pub struct AgentCaller(Arc<AuthenticatedAgent>);

struct AuthenticatedAgent {
    subject: Subject,
    via: Via,
    token: Option<VerifiedToken>,
    standing: Standing,
    proof: Option<UnboundProof>,
}

/// The extent to which a caller may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everything that the decision path allows.
    Full,
    /// The task must be bound first: only `task_bind` is accepted, until the deadline.
    Locked,
    /// The task was bound after the token was issued: only `task_bind` with the same key is accepted, since its answer
    /// may have been lost.
    Superseded,
}

/// An `Ephyr-Proof` sent with an unbound token and made with the key to be bound. It covers method, path and body of
/// the request.
pub struct UnboundProof {
    /// The proof.
    pub proof: ephyr_token::Proof,
    /// The HTTP method of the request.
    pub method: String,
    /// The request target.
    pub path: String,
    /// SHA-256 of the body.
    pub body: Digest,
}

/// The credential that authenticated the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The UID of its process, over the Unix socket.
    Uid(u32),
    /// Its API key.
    Key,
    /// A task token. Over the Unix socket, the process's UID is the agent's too.
    Token,
}

impl Via {
    /// Returns the name for records and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uid(_) => "uid",
            Self::Key => "api_key",
            Self::Token => "token",
        }
    }

    /// Returns the credential in words, for messages to the caller.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Uid(_) => "your UID",
            Self::Key => "your API key",
            Self::Token => "your task token",
        }
    }
}

impl AgentCaller {
    /// Returns an agent identified by the UID of its process.
    #[must_use]
    pub fn by_uid(agent: AgentName, uid: u32) -> Self {
        Self::new(Subject::direct(agent), Via::Uid(uid), None, Standing::Full)
    }

    /// Returns an agent identified by its API key.
    #[must_use]
    pub fn by_key(agent: AgentName) -> Self {
        Self::new(Subject::direct(agent), Via::Key, None, Standing::Full)
    }

    /// Returns the agent that a token of a live task names.
    #[must_use]
    pub fn by_token(token: VerifiedToken, standing: Standing) -> Self {
        let subject = Subject {
            agent: token.agent().clone(),
            lineage: token.lineage().zip(token.agents().cloned()).collect(),
            envelope: Some(token.envelope().clone()),
        };
        Self::new(subject, Via::Token, Some(token), standing)
    }

    fn new(subject: Subject, via: Via, token: Option<VerifiedToken>, standing: Standing) -> Self {
        Self(Arc::new(AuthenticatedAgent {
            subject,
            via,
            token,
            standing,
            proof: None,
        }))
    }

    /// Adds the proof sent with an unbound token.
    #[must_use]
    pub fn with_proof(mut self, proof: UnboundProof) -> Self {
        // A new caller has no clones yet.
        if let Some(agent) = Arc::get_mut(&mut self.0) {
            agent.proof = Some(proof);
        }
        self
    }

    /// Returns agent, lineage and envelope.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// Returns the agent that acts.
    #[must_use]
    pub fn agent(&self) -> &AgentName {
        &self.0.subject.agent
    }

    /// Returns the task that it acts in.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.0.subject.task()
    }

    /// Returns the tasks that it acts in, root first.
    pub fn lineage(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.0.subject.lineage.iter().map(|(task, _)| *task)
    }

    /// Returns the credential that authenticated it.
    #[must_use]
    pub fn via(&self) -> Via {
        self.0.via
    }

    /// Returns the extent to which it may act.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.0.standing
    }

    /// Returns its token.
    #[must_use]
    pub fn token(&self) -> Option<&VerifiedToken> {
        self.0.token.as_ref()
    }

    /// Returns the proof sent with its unbound token.
    #[must_use]
    pub fn unbound_proof(&self) -> Option<&UnboundProof> {
        self.0.proof.as_ref()
    }

    /// Returns a text that is equal for the same agent in the same task, and different for all others.
    #[must_use]
    pub fn key(&self) -> Cow<'_, str> {
        match self.task() {
            // The task, not the token: a holder may narrow its token and continue its MCP session.
            Some(task) => Cow::Owned(format!("{}/{task}", self.agent())),
            None => Cow::Borrowed(self.agent().as_str()),
        }
    }
}
