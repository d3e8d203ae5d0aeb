//! Checks the grants of agents and templates: every name that they use must be declared.

use std::collections::{BTreeMap, BTreeSet};

use ephyr_names::{AgentName, ServiceName};

use super::view::View;
use crate::diagnostic::Findings;
use crate::format::ANY;
use crate::model::{Agent, Service};
use crate::suggest;

/// The names that a policy declares.
struct Names<'n> {
    targets: BTreeMap<&'n str, View<'n>>,
    roles: BTreeSet<&'n str>,
    services: BTreeSet<&'n str>,
    remotes: BTreeSet<&'n str>,
    agents: BTreeSet<&'n str>,
}

pub(super) fn check(
    root: &View<'_>,
    agents: &BTreeMap<AgentName, Agent>,
    services: &BTreeMap<ServiceName, Service>,
    findings: &mut Findings,
) {
    let set = |section| -> BTreeSet<&str> {
        let names = root.map(section);
        names
            .into_iter()
            .map(|(key, _)| key.name.as_str())
            .collect()
    };
    let names = Names {
        targets: root
            .map("targets")
            .into_iter()
            .map(|(key, view)| (key.name.as_str(), view))
            .collect(),
        roles: set("roles"),
        services: set("services"),
        remotes: set("remotes"),
        agents: agents.keys().map(AgentName::as_str).collect(),
    };
    for section in ["templates", "agents"] {
        for (_, view) in root.map(section) {
            check_ssh(&view, &names, findings);
            check_services(&view, &names, services, findings);
            check_remotes(&view, &names, findings);
            check_delegation(&view, &names, findings);
        }
    }
}

fn check_ssh(view: &View<'_>, names: &Names<'_>, findings: &mut Findings) {
    for (key, grant) in view.map("ssh") {
        let target = names.targets.get(key.name.as_str());
        if key.name == ANY {
            let message = "these roles apply to every target that is not named, including targets added later; \
                           name the targets";
            findings.add("W-WILDCARD-SSH", key.at, grant.own_path(), message);
        } else if target.is_none() {
            let hint = suggest::hint(&key.name, names.targets.keys().copied());
            let message = format!("there is no target `{}`{hint}", key.name);
            findings.add("E-UNKNOWN-TARGET", key.at, grant.own_path(), message);
        }
        check_roles(&grant, target, names, findings);
        let explicit = grant.bool("auto_approve") == Some(true);
        let refused = target.is_some_and(|t| !t.bool("auto_approve").unwrap_or(false));
        if explicit && refused {
            let message = format!(
                "has no effect: targets.{} does not have `auto_approve: true`, so a human must approve",
                key.name
            );
            let at = grant.at("auto_approve");
            findings.add("W-AUTO-APPROVE", at, grant.path("auto_approve"), message);
        }
    }
}

fn check_roles(
    grant: &View<'_>,
    target: Option<&View<'_>>,
    names: &Names<'_>,
    findings: &mut Findings,
) {
    for (index, role) in grant.texts("roles") {
        let (at, path) = grant.place_of("roles", index);
        if !names.roles.contains(role) {
            let hint = suggest::hint(role, names.roles.iter().copied());
            let message = format!("there is no role `{role}`{hint}");
            findings.add("E-UNKNOWN-ROLE", at, path, message);
        } else if let Some(target) = target
            && target.texts("allowed_roles").all(|(_, text)| text != role)
        {
            let message = format!(
                "has no effect: `{role}` is not among {}",
                target.path("allowed_roles")
            );
            findings.add("W-ROLE-NOT-ALLOWED", at, path, message);
        }
    }
}

fn check_services(
    view: &View<'_>,
    names: &Names<'_>,
    services: &BTreeMap<ServiceName, Service>,
    findings: &mut Findings,
) {
    for (key, grant) in view.map("services") {
        if key.name == ANY {
            let message =
                "these methods apply to every service that is not named; name the services";
            findings.add("W-WILDCARD-SERVICES", key.at, grant.own_path(), message);
        } else if !names.services.contains(key.name.as_str()) {
            let hint = suggest::hint(&key.name, names.services.iter().copied());
            let message = format!("there is no service `{}`{hint}", key.name);
            findings.add("E-UNKNOWN-SERVICE", key.at, grant.own_path(), message);
        }
        check_any(&grant, "methods", findings);
        let Some(service) = services.get(key.name.as_str()) else {
            continue;
        };
        for (index, method) in grant.texts("methods") {
            let allowed = &service.allowed_methods;
            if method != ANY && !allowed.is_empty() && !allowed.contains(method) {
                let (at, path) = grant.place_of("methods", index);
                let message = format!(
                    "has no effect: {method} is not among services.{}.allowed_methods",
                    key.name
                );
                findings.add("W-METHOD-NOT-ALLOWED", at, path, message);
            }
        }
    }
}

fn check_remotes(view: &View<'_>, names: &Names<'_>, findings: &mut Findings) {
    for (key, grant) in view.map("remotes") {
        if key.name == ANY {
            let message = "these tools apply to every remote that is not named; name the remotes";
            findings.add("W-WILDCARD-REMOTES", key.at, grant.own_path(), message);
        } else if !names.remotes.contains(key.name.as_str()) {
            let hint = suggest::hint(&key.name, names.remotes.iter().copied());
            let message = format!("there is no remote `{}`{hint}", key.name);
            findings.add("E-UNKNOWN-REMOTE", key.at, grant.own_path(), message);
        }
        check_any(&grant, "tools", findings);
    }
}

/// Reports other items beside `"*"`, which stands for all.
fn check_any(grant: &View<'_>, list: &'static str, findings: &mut Findings) {
    let any = grant.texts(list).find(|(_, text)| *text == ANY);
    if let Some((index, _)) = any
        && grant.texts(list).count() > 1
    {
        let (at, path) = grant.place_of(list, index);
        let message = "`\"*\"` already stands for everything; keep only this item or remove it";
        findings.add("E-ANY-AND-MORE", at, path, message);
    }
}

fn check_delegation(view: &View<'_>, names: &Names<'_>, findings: &mut Findings) {
    for (index, agent) in view.texts("accept_delegation_from") {
        if !names.agents.contains(agent) {
            let (at, path) = view.place_of("accept_delegation_from", index);
            let hint = suggest::hint(agent, names.agents.iter().copied());
            let message = format!("there is no agent `{agent}`{hint}");
            findings.add("E-UNKNOWN-AGENT", at, path, message);
        }
    }
}
