//! Whether every agent of a lineage may use a role on a target: the part of the decision that broker and signer both
//! make, independently.

use std::sync::Arc;

use ephyr_names::{AgentName, Principal, RoleName, TargetName};

use super::subject::{LineageError, check_lineage};
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
    /// Returns the acting agent.
    #[must_use]
    pub fn agent(&self) -> &'p Agent {
        self.agent
    }

    /// Returns the target.
    #[must_use]
    pub fn target(&self) -> &'p Target {
        self.target
    }

    /// Returns the role.
    #[must_use]
    pub fn role(&self) -> &'p Role {
        self.role
    }

    /// Returns how a human must approve; `None`: no approval is required.
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

    /// Returns whether every certificate must be sealed to one command: the role has a command policy or its use
    /// requires approval, and the role is not `unsealed`.
    #[must_use]
    pub fn must_be_sealed(&self) -> bool {
        !self.role.unsealed && (self.role.commands.is_some() || self.approval.is_some())
    }
}

/// Why the policy refuses a pairing, in the order of the decision's steps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpaired {
    /// The agent may not act under the lineage.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// The target is not in the policy.
    #[error("the policy has no target `{0}`")]
    TargetUnknown(TargetName),
    /// The policy disables the target.
    #[error("target `{0}` is disabled in the policy")]
    TargetDisabled(TargetName),
    /// An agent of the lineage lacks the role on the target.
    #[error("agent `{agent}` has no role `{role}` on `{target}`")]
    RoleNotGranted {
        /// The agent.
        agent: AgentName,
        /// The role.
        role: RoleName,
        /// The target.
        target: TargetName,
        /// The path of the agent's grant for the target, which lacks the role; `None`: there is no grant.
        grant: Option<String>,
    },
    /// The role does not exist on the target.
    #[error("role `{role}` is not among the allowed_roles of `{target}`")]
    RoleNotAllowedOnTarget {
        /// The role.
        role: RoleName,
        /// The target.
        target: TargetName,
    },
}

impl Policy {
    /// Checks that `agent`, acting under `lineage`, may use `role` on `target`: every agent of the lineage must have
    /// the role there. `lineage` has the agents of the token's tasks, the root first; it is empty without a token.
    ///
    /// # Errors
    /// Returns an [`Unpaired`] that names the rule that refuses.
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
    let (role, AutoApprove(mut auto_approve)) = role_on(acting, target, name)?;
    for agent in lineage.filter(|agent| **agent != acting.name) {
        let agent = policy.find_agent(agent)?;
        auto_approve &= role_on(agent, target, name)?.1.0;
    }
    Ok(Pairing {
        agent: acting,
        target,
        role,
        approval: (!auto_approve).then_some(target.approval),
    })
}

fn role_on<'p>(
    agent: &'p Agent,
    target: &Target,
    role: &RoleName,
) -> Result<(&'p Arc<Role>, AutoApprove), Unpaired> {
    let on = agent.access.on(&target.name);
    on.and_then(|on| on.role(role))
        .ok_or_else(|| missing_role(agent, target, role))
}

/// Returns why an agent lacks a role on a target: the role is not granted or does not exist there.
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
