//! Warnings about agents, roles and templates.

use std::collections::{BTreeMap, BTreeSet};

use ephyr_names::AgentName;

use super::view::View;
use crate::diagnostic::Findings;
use crate::model::{Agent, Global};

pub(super) fn check(
    root: &View<'_>,
    agents: &BTreeMap<AgentName, Agent>,
    global: &Global,
    findings: &mut Findings,
) {
    let reachable =
        root.map("targets").len() + root.map("services").len() + root.map("remotes").len();
    if reachable == 0 {
        let message = "there is no target, service or remote, so no agent can reach anything";
        findings.add("W-NO-TARGETS", root.here(), "", message);
    }
    check_unused(root, findings);
    for (key, view) in root.map("agents") {
        if let Some(agent) = agents.get(key.name.as_str()) {
            check_agent(&view, agent, global, findings);
        }
    }
}

fn check_unused(root: &View<'_>, findings: &mut Findings) {
    let targets = root.map("targets");
    let on_targets: BTreeSet<&str> = targets
        .iter()
        .flat_map(|(_, view)| view.texts("allowed_roles"))
        .map(|(_, role)| role)
        .collect();
    for (key, view) in root.map("roles") {
        if !on_targets.contains(key.name.as_str()) {
            let message = "no target allows this role; add it to `allowed_roles` or remove it";
            findings.add("W-UNUSED-ROLE", key.at, view.own_path(), message);
        }
    }
    let agents = root.map("agents");
    let inherited: BTreeSet<&str> = agents
        .iter()
        .flat_map(|(_, view)| view.texts("inherits"))
        .map(|(_, template)| template)
        .collect();
    for (key, view) in root.map("templates") {
        if !inherited.contains(key.name.as_str()) {
            let message = "no agent inherits this template; add it to `inherits` or remove it";
            findings.add("W-UNUSED-TEMPLATE", key.at, view.own_path(), message);
        }
    }
}

fn check_agent(view: &View<'_>, agent: &Agent, global: &Global, findings: &mut Findings) {
    let nothing = agent.ssh.is_empty()
        && agent.services.is_empty()
        && agent.remotes.is_empty()
        && agent.dashboard.is_none();
    if nothing {
        let message =
            "the agent has no grants, so it may do nothing; add `ssh`, `services` or `remotes`";
        findings.add("W-NO-ACCESS", view.here(), view.own_path(), message);
    }
    if view.has("max_concurrent_certs") && agent.max_concurrent_certs > global.max_active_certs {
        let message = format!(
            "more than global.max_active_certs ({}), which limits all agents together; lower it",
            global.max_active_certs
        );
        let at = view.at("max_concurrent_certs");
        findings.add(
            "W-AGENT-LIMIT",
            at,
            view.path("max_concurrent_certs"),
            message,
        );
    }
    for item in view.records("egress") {
        let everything = item.text("cidr").is_some_and(|cidr| cidr.ends_with("/0"));
        if everything {
            let message = "opens the port to every address; name the required networks";
            findings.add("W-EGRESS-ALL", item.at("cidr"), item.path("cidr"), message);
        }
    }
}
