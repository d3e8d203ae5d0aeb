//! The targets and roles that a subject can see.

use ephyr_names::{RoleName, TargetName};

use crate::decide::subject::{Request, Subject};
use crate::model::{Agent, Policy, Role, Target};
use ephyr_names::Timestamp;

/// A target that the subject may use, with its roles there.
#[derive(Debug, Clone)]
pub struct Reachable<'p> {
    /// The target.
    pub target: &'p Target,
    /// The roles, by name; never empty.
    pub roles: Vec<&'p Role>,
    /// Whether the policy enables the target.
    pub enabled: bool,
}

/// Returns the targets with at least one role that steps 1 and 3 allow the subject, sorted by name.
#[must_use]
pub fn reachable<'p>(policy: &'p Policy, subject: &Subject) -> Vec<Reachable<'p>> {
    // The result does not depend on the time.
    match Request::new(policy, subject, Timestamp::from_unix_millis(0)) {
        Ok(request) => reachable_in(&request),
        Err(_) => Vec::new(),
    }
}

/// Returns [`reachable`] for a request that has passed step 1.
pub(super) fn reachable_in<'p>(request: &Request<'p, '_>) -> Vec<Reachable<'p>> {
    let ancestors: Vec<&'p Agent> = request.ancestors().map(AsRef::as_ref).collect();
    let allowed = |target: &TargetName, role: &RoleName| {
        let all_have = |agent: &&Agent| {
            let on = agent.access.on(target);
            on.is_some_and(|on| on.role(role).is_some())
        };
        request
            .envelope()
            .is_none_or(|envelope| envelope.allows_ssh(target, role))
            && ancestors.iter().all(all_have)
    };
    let on_targets = request.acting.access.iter().filter_map(|on| {
        let target = &on.target;
        let roles = on.roles.iter().map(|(role, _)| role.as_ref());
        let roles: Vec<&Role> = roles
            .filter(|role| allowed(&target.name, &role.name))
            .collect();
        (!roles.is_empty()).then(|| Reachable {
            target,
            roles,
            enabled: target.enabled,
        })
    });
    on_targets.collect()
}
