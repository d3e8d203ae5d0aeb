//! What a subject may see of the world.

use std::sync::Arc;

use ephyr_names::{RoleName, TargetName};

use super::{Subject, Switches};
use crate::model::{Agent, Policy, Role, Target};
use crate::pairing;

/// A target that the subject may use, with the roles it may be there.
#[derive(Debug, Clone)]
pub struct Reachable<'p> {
    /// The target.
    pub target: &'p Target,
    /// The roles, by name; never empty.
    pub roles: Vec<&'p Role>,
    /// Whether policy and switches let it be used now.
    pub enabled: bool,
}

/// Every target that steps 1 and 3 leave to the subject, by name: what it may see of the world.
#[must_use]
pub fn reachable<'p>(
    policy: &'p Policy,
    switches: &Switches,
    subject: &Subject,
) -> Vec<Reachable<'p>> {
    let Ok(acting) = pairing::check_agents(policy, &subject.agent, subject.agents()) else {
        return Vec::new();
    };
    if subject.frozen || subject.envelope.is_some() == subject.lineage.is_empty() {
        return Vec::new();
    }
    let others: Vec<&Arc<Agent>> = subject
        .agents()
        .filter(|agent| **agent != acting.name)
        .filter_map(|agent| policy.agent_index.get(agent))
        .collect();
    let allowed = |target: &TargetName, role: &RoleName| {
        let within = subject.envelope.as_ref();
        let all_have = |agent: &&Arc<Agent>| {
            let on = agent.access.on(target);
            on.is_some_and(|on| on.role(role).is_some())
        };
        within.is_none_or(|envelope| envelope.allows_ssh(target, role))
            && others.iter().all(all_have)
    };
    let on_targets = acting.access.iter().filter_map(|on| {
        let target = &on.target;
        let roles = on.roles.iter().map(|(role, _)| role.as_ref());
        let roles: Vec<&Role> = roles
            .filter(|role| allowed(&target.name, &role.name))
            .collect();
        (!roles.is_empty()).then(|| Reachable {
            target,
            roles,
            enabled: target.enabled && !switches.disabled_targets.contains(&target.name),
        })
    });
    on_targets.collect()
}
