//! The proof that an action was allowed. Whatever connects to a target asks for one.

use std::sync::Arc;

use ephyr_names::{Account, AgentName, Digest, RoleName, TargetName, TaskId, Timestamp, Ttl};

use super::{Granted, Purpose, Subject};
use crate::ledger::{Entry, SlotId};
use crate::model::{Agent, HostKey, Role, Target};

/// An action that was allowed, with its place in the ledger. Only [`super::authorize`] makes one, each
/// stands for one action, and it cannot be copied.
#[derive(Debug)]
#[must_use = "a permit holds a slot: use it, then release or confirm the slot in the ledger"]
pub struct Permit {
    agent: Arc<Agent>,
    lineage: Vec<(TaskId, AgentName)>,
    target: ResolvedTarget,
    purpose: Purpose,
    ttl: Ttl,
    decided: Timestamp,
    slot: SlotId,
    replaced: Vec<Entry>,
    policy: Digest,
}

impl Permit {
    pub(super) fn new(
        granted: &Granted<'_>,
        subject: &Subject,
        purpose: Purpose,
        (slot, replaced): (SlotId, Vec<Entry>),
        now: Timestamp,
        policy: Digest,
    ) -> Self {
        Self {
            agent: Arc::clone(granted.agent),
            lineage: subject.lineage.clone(),
            target: ResolvedTarget {
                target: Arc::clone(granted.target),
                role: Arc::clone(granted.role),
            },
            purpose,
            ttl: granted.ttl,
            decided: now,
            slot,
            replaced,
            policy,
        }
    }

    /// The agent that acts.
    #[must_use]
    pub fn agent(&self) -> &AgentName {
        &self.agent.name
    }

    /// The tasks that the agent acts in, with their agents, the root first; empty without a token.
    #[must_use]
    pub fn lineage(&self) -> &[(TaskId, AgentName)] {
        &self.lineage
    }

    /// The task that the agent acts in.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.lineage.last().map(|(task, _)| *task)
    }

    /// The root of that task's tree.
    #[must_use]
    pub fn root(&self) -> Option<TaskId> {
        self.lineage.first().map(|(task, _)| *task)
    }

    /// Where to connect, and as whom.
    #[must_use]
    pub fn target(&self) -> &ResolvedTarget {
        &self.target
    }

    /// The role that was granted.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.target.role
    }

    /// What for.
    #[must_use]
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// How long the certificate may live.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// When it was decided.
    #[must_use]
    pub fn decided(&self) -> Timestamp {
        self.decided
    }

    /// Its slot in the ledger.
    #[must_use]
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// The certificates that this one takes the place of. When the new one is out, what they opened must
    /// be ended, since their slots are no longer counted.
    #[must_use]
    pub fn replaced(&self) -> &[Entry] {
        &self.replaced
    }

    /// The policy that allowed it.
    #[must_use]
    pub fn policy_hash(&self) -> Digest {
        self.policy
    }
}

/// A target together with the role on it.
#[derive(Debug, Clone)]
pub struct ResolvedTarget {
    target: Arc<Target>,
    role: Arc<Role>,
}

impl ResolvedTarget {
    /// The target's name.
    #[must_use]
    pub fn name(&self) -> &TargetName {
        &self.target.name
    }

    /// Its DNS name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.target.host
    }

    /// Its SSH port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.target.port
    }

    /// What its host key must be.
    #[must_use]
    pub fn host_key(&self) -> &HostKey {
        &self.target.host_key
    }

    /// The role's name.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role.name
    }

    /// The Unix account to log in as.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.role.principal
    }

    /// Everything the policy says about the target.
    #[must_use]
    pub fn policy(&self) -> &Target {
        &self.target
    }
}
