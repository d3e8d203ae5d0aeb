//! Whether the policy pairs agents, a target and a role: the part of the decision that broker and signer
//! share, each for itself.

use std::sync::Arc;

use ephyr_names::{AgentName, Principal, RoleName, TargetName};

use crate::model::{Agent, Approval, AutoApprove, Policy, Role, Target};

/// A target and a role on it that every agent of a lineage may use under the policy.
#[derive(Debug, Clone, Copy)]
pub struct Pairing<'p> {
    pub(crate) agent: &'p Arc<Agent>,
    pub(crate) target: &'p Arc<Target>,
    pub(crate) role: &'p Arc<Role>,
    pub(crate) approval: Option<Approval>,
}

impl<'p> Pairing<'p> {
    /// The agent that acts.
    #[must_use]
    pub fn agent(&self) -> &'p Agent {
        self.agent
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &'p Target {
        self.target
    }

    /// The role on it.
    #[must_use]
    pub fn role(&self) -> &'p Role {
        self.role
    }

    /// How a human must approve; `None`: not at all.
    #[must_use]
    pub fn approval(&self) -> Option<Approval> {
        self.approval
    }

    /// What stands in the certificate: `<target>/<role>`.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal {
            target: self.target.name.clone(),
            role: self.role.name.clone(),
        }
    }

    /// Whether every certificate must be sealed to one command: the role has a command policy or the use
    /// needs approval, and `unsealed` does not say otherwise.
    #[must_use]
    pub fn must_be_sealed(&self) -> bool {
        !self.role.unsealed && (self.role.commands.is_some() || self.approval.is_some())
    }
}

/// Why the policy does not pair them. The order is that of the decision's steps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpaired {
    /// An agent that the policy does not know.
    #[error("the policy has no agent `{0}`")]
    AgentUnknown(AgentName),
    /// The lineage does not end with the agent that acts.
    #[error("the lineage does not end with agent `{0}`")]
    LineageMismatch(AgentName),
    /// An agent that acts only by delegated tokens came without one.
    #[error("agent `{0}` acts only by tokens that another agent delegated to it")]
    DelegatedOnly(AgentName),
    /// A delegation that the policy does not accept.
    #[error("agent `{to}` does not accept delegation from `{from}`")]
    DelegationNotAccepted {
        /// The agent that delegated.
        from: AgentName,
        /// The agent that it delegated to.
        to: AgentName,
    },
    /// A target that the policy does not know.
    #[error("the policy has no target `{0}`")]
    TargetUnknown(TargetName),
    /// A target that the policy switches off.
    #[error("target `{0}` is switched off in the policy")]
    TargetDisabled(TargetName),
    /// An agent of the lineage that lacks the role on the target.
    #[error("agent `{agent}` has no role `{role}` on `{target}`")]
    RoleNotGranted {
        /// The agent.
        agent: AgentName,
        /// The role.
        role: RoleName,
        /// The target.
        target: TargetName,
        /// Where the grant stands that does not name the role; `None`: there is none for the target.
        grant: Option<String>,
    },
    /// A role that does not exist on the target.
    #[error("role `{role}` is not among the allowed_roles of `{target}`")]
    RoleNotAllowedOnTarget {
        /// The role.
        role: RoleName,
        /// The target.
        target: TargetName,
    },
}

impl Policy {
    /// Whether `agent`, acting under `lineage` (the agents of its token's tasks, the root first; empty
    /// without a token), may be `role` on `target`: every agent of the lineage must have the role there.
    ///
    /// # Errors
    /// [`Unpaired`] says which rule stands against it.
    pub fn pairing<'p, 'a>(
        &'p self,
        agent: &'a AgentName,
        lineage: impl Iterator<Item = &'a AgentName> + Clone,
        target: &TargetName,
        role: &RoleName,
    ) -> Result<Pairing<'p>, Unpaired> {
        let acting = check_agents(self, agent, lineage.clone())?;
        let target = check_target(self, acting, target)?;
        check_roles(self, acting, lineage, target, role)
    }

    fn find_agent(&self, name: &AgentName) -> Result<&Arc<Agent>, Unpaired> {
        let found = self.agent_index.get(name);
        found.ok_or_else(|| Unpaired::AgentUnknown(name.clone()))
    }
}

/// Step 1 without freezing: every agent is known, and each delegation accepted by who received it.
pub(crate) fn check_agents<'p, 'a>(
    policy: &'p Policy,
    agent: &'a AgentName,
    lineage: impl Iterator<Item = &'a AgentName>,
) -> Result<&'p Arc<Agent>, Unpaired> {
    let acting = policy.find_agent(agent)?;
    let mut last: Option<&Arc<Agent>> = None;
    for name in lineage {
        let this = match last {
            Some(last) if last.name == *name => last,
            _ => policy.find_agent(name)?,
        };
        match last {
            None if this.delegated_only => return Err(Unpaired::DelegatedOnly(name.clone())),
            Some(from)
                if from.name != this.name && !this.accept_delegation_from.contains(&from.name) =>
            {
                return Err(Unpaired::DelegationNotAccepted {
                    from: from.name.clone(),
                    to: name.clone(),
                });
            }
            _ => {}
        }
        last = Some(this);
    }
    match last {
        None if acting.delegated_only => Err(Unpaired::DelegatedOnly(agent.clone())),
        Some(last) if last.name != acting.name => Err(Unpaired::LineageMismatch(agent.clone())),
        _ => Ok(acting),
    }
}

/// Step 2 without the broker's switches.
pub(crate) fn check_target<'p>(
    policy: &'p Policy,
    acting: &'p Agent,
    name: &TargetName,
) -> Result<&'p Arc<Target>, Unpaired> {
    let target = match acting.access.on(name) {
        Some(on) => &on.target,
        None => policy
            .targets
            .get(name)
            .ok_or_else(|| Unpaired::TargetUnknown(name.clone()))?,
    };
    if target.enabled {
        Ok(target)
    } else {
        Err(Unpaired::TargetDisabled(name.clone()))
    }
}

/// Step 3 without the token's envelope.
pub(crate) fn check_roles<'p, 'a>(
    policy: &'p Policy,
    acting: &'p Arc<Agent>,
    lineage: impl Iterator<Item = &'a AgentName>,
    target: &'p Arc<Target>,
    name: &RoleName,
) -> Result<Pairing<'p>, Unpaired> {
    let (role, AutoApprove(mut auto_approve)) = has_role(acting, target, name)?;
    for agent in lineage.filter(|agent| **agent != acting.name) {
        let agent = policy.find_agent(agent)?;
        auto_approve &= has_role(agent, target, name)?.1.0;
    }
    Ok(Pairing {
        agent: acting,
        target,
        role,
        approval: (!auto_approve).then_some(target.approval),
    })
}

fn has_role<'p>(
    agent: &'p Agent,
    target: &Target,
    role: &RoleName,
) -> Result<(&'p Arc<Role>, AutoApprove), Unpaired> {
    let on = agent.access.on(&target.name);
    on.and_then(|on| on.role(role))
        .ok_or_else(|| why_not(agent, target, role))
}

/// Why an agent lacks a role on a target: either it is not granted or it does not exist there.
fn why_not(agent: &Agent, target: &Target, role: &RoleName) -> Unpaired {
    let grant = agent.ssh.on(&target.name);
    if grant.is_some_and(|grant| grant.roles.contains(role)) {
        return Unpaired::RoleNotAllowedOnTarget {
            role: role.clone(),
            target: target.name.clone(),
        };
    }
    Unpaired::RoleNotGranted {
        agent: agent.name.clone(),
        role: role.clone(),
        target: target.name.clone(),
        grant: grant.map(|grant| grant.path.clone()),
    }
}
