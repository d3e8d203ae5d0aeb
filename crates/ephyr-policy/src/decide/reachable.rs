//! What a subject may see of the world.

use std::sync::Arc;

use ephyr_names::RoleName;

use super::{Subject, Switches};
use crate::model::{Policy, Role, Target};
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
    let roles_on = |target: &'p Arc<Target>| -> Vec<&'p Role> {
        let within = |role: &RoleName| match &subject.envelope {
            Some(envelope) => envelope.allows_ssh(&target.name, role),
            None => true,
        };
        let granted = acting.ssh.on(&target.name);
        granted
            .into_iter()
            .flat_map(|grant| &grant.roles)
            .filter(|role| within(role))
            .filter_map(|role| {
                pairing::check_roles(policy, acting, subject.agents(), target, role).ok()
            })
            .map(|pairing| pairing.role())
            .collect()
    };
    policy
        .targets
        .values()
        .filter_map(|target| {
            let roles = roles_on(target);
            (!roles.is_empty()).then(|| Reachable {
                target,
                roles,
                enabled: target.enabled && !switches.disabled_targets.contains(&target.name),
            })
        })
        .collect()
}
