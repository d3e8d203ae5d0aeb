//! Whether the policy pairs agents, a target and a role: the part of the decision that broker and signer
//! share, each for itself.

use std::sync::Arc;

use ephyr_names::{AgentName, Principal, RoleName, TargetName};

use super::super::subject::{LineageError, check_lineage};
use crate::model::{Agent, Approval, AutoApprove, Policy, Role, Target};

/// A target and a role on it that every agent of a lineage may use under the policy.
#[derive(Debug, Clone, Copy)]
pub struct Pairing<'p> {
    pub(super) agent: &'p Arc<Agent>,
    pub(super) target: &'p Arc<Target>,
    pub(super) role: &'p Arc<Role>,
    approval: Option<Approval>,
}

impl<'p> Pairing<'p> {
    /// Returns the agent that acts.
    #[must_use]
    pub fn agent(&self) -> &'p Agent {
        self.agent
    }

    /// Returns the target.
    #[must_use]
    pub fn target(&self) -> &'p Target {
        self.target
    }

    /// Returns the role on it.
    #[must_use]
    pub fn role(&self) -> &'p Role {
        self.role
    }

    /// Returns how a human must approve; `None`: not at all.
    #[must_use]
    pub fn approval(&self) -> Option<Approval> {
        self.approval
    }

    /// Returns the certificate's principal: `<target>/<role>`.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal {
            target: self.target.name.clone(),
            role: self.role.name.clone(),
        }
    }

    /// Returns whether every certificate must be sealed to one command: the role has a command policy or the use
    /// needs approval, and `unsealed` does not say otherwise.
    #[must_use]
    pub fn must_be_sealed(&self) -> bool {
        !self.role.unsealed && (self.role.commands.is_some() || self.approval.is_some())
    }
}

/// Why the policy does not pair them. The order is that of the decision's steps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpaired {
    /// The agent may not act under the lineage.
    #[error(transparent)]
    Lineage(#[from] LineageError),
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
        /// The path of the grant that does not name the role; `None`: there is none for the target.
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
    /// Returns whether `agent`, acting under `lineage` (the agents of its token's tasks, the root first; empty
    /// without a token), may be `role` on `target`: every agent of the lineage must have the role there.
    ///
    /// # Errors
    /// [`Unpaired`] names the rule that refuses.
    pub fn pairing<'p, 'a>(
        &'p self,
        agent: &'a AgentName,
        lineage: impl Iterator<Item = &'a AgentName> + Clone,
        target: &TargetName,
        role: &RoleName,
    ) -> Result<Pairing<'p>, Unpaired> {
        let acting = check_lineage(self, agent, lineage.clone())?;
        let target = check_target(self, acting, target)?;
        check_roles(self, acting, lineage, target, role)
    }
}

/// Step 2.
pub(super) fn check_target<'p>(
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
pub(super) fn check_roles<'p, 'a>(
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
        .ok_or_else(|| missing_role(agent, target, role))
}

/// Returns why an agent lacks a role on a target: either it is not granted or it does not exist there.
fn missing_role(agent: &Agent, target: &Target, role: &RoleName) -> Unpaired {
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
