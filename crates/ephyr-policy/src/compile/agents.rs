//! Sections `agents`, `templates` and `admins`.

use std::collections::{BTreeMap, BTreeSet};

use ephyr_names::AgentName;

use super::view::View;
use crate::diagnostic::{Findings, Place};
use crate::format::{self, ANY};
use crate::model::{
    Access, Admin, Agent, Allowed, Egress, KeySource, Level, PairGrants, SshGrant, SshGrants,
};
use crate::suggest;

pub(super) fn compile(root: &View<'_>, findings: &mut Findings) -> BTreeMap<AgentName, Agent> {
    let views = root.map("agents");
    if root.is_empty("agents") {
        let message = "there is no agent, so no action is allowed; add one";
        findings.add(
            "E-NO-AGENTS",
            root.at("agents"),
            root.path("agents"),
            message,
        );
    }
    let templates: BTreeMap<&str, View<'_>> = root
        .map("templates")
        .into_iter()
        .map(|(key, view)| (key.name.as_str(), view))
        .collect();
    let mut agents = BTreeMap::new();
    let mut used = Identities::default();
    for (key, view) in &views {
        check_identity(view, &mut used, findings);
        let layers = layers(view, &templates, findings);
        let Ok(name) = key.name.parse::<AgentName>() else {
            continue;
        };
        let agent = merge(name.clone(), view, &layers);
        check_agent(view, &agent, findings);
        agents.insert(name, agent);
    }
    agents
}

/// Returns the templates that the agent inherits, in order, then the agent itself. Later layers take precedence.
fn layers<'n>(
    view: &View<'n>,
    templates: &BTreeMap<&str, View<'n>>,
    findings: &mut Findings,
) -> Vec<View<'n>> {
    let mut layers = Vec::new();
    for (index, name) in view.texts("inherits") {
        if let Some(template) = templates.get(name) {
            layers.push(template.clone());
        } else {
            let (at, path) = view.place_of("inherits", index);
            let hint = suggest::hint(name, templates.keys().copied());
            let message = format!("there is no template `{name}`{hint}");
            findings.add("E-UNKNOWN-TEMPLATE", at, path, message);
        }
    }
    layers.push(view.clone());
    layers
}

fn merge(name: AgentName, own: &View<'_>, layers: &[View<'_>]) -> Agent {
    let last = |key: &'static str| layers.iter().rfind(|layer| layer.has(key));
    let is = |key| last(key).and_then(|l| l.bool(key)).unwrap_or(false);
    let inline = own.text("api_key_hash").map(str::to_owned);
    let credential = own.text("api_key_hash_credential").map(str::to_owned);
    Agent {
        name,
        uid: own.int("uid"),
        api_key: inline
            .map(KeySource::Inline)
            .or(credential.map(KeySource::Credential)),
        description: last("description")
            .and_then(|l| l.text("description"))
            .unwrap_or_default()
            .to_owned(),
        max_concurrent_certs: last("max_concurrent_certs")
            .and_then(|l| l.int("max_concurrent_certs"))
            .unwrap_or(3),
        ssh: ssh_grants(layers),
        services: pair_grants(layers, "services", "methods"),
        remotes: pair_grants(layers, "remotes", "tools"),
        dashboard: last("dashboard").and_then(|l| level(l.text("dashboard")?)),
        require_pop: is("require_pop"),
        delegated_only: is("delegated_only"),
        accept_delegation_from: last("accept_delegation_from")
            .map(|l| {
                let texts = l.texts("accept_delegation_from");
                texts.filter_map(|(_, text)| text.parse().ok()).collect()
            })
            .unwrap_or_default(),
        egress: last("egress")
            .map(|l| l.records("egress").iter().filter_map(egress).collect())
            .unwrap_or_default(),
        access: Access::default(),
    }
}

fn ssh_grants(layers: &[View<'_>]) -> SshGrants {
    let mut grants = SshGrants::default();
    for (key, view) in layers.iter().flat_map(|layer| layer.map("ssh")) {
        let grant = SshGrant {
            roles: view
                .texts("roles")
                .filter_map(|(_, text)| text.parse().ok())
                .collect(),
            auto_approve: view.bool("auto_approve").unwrap_or(true),
            path: view.own_path().to_owned(),
        };
        if key.name == ANY {
            grants.any = Some(grant);
        } else if let Ok(target) = key.name.parse() {
            grants.named.insert(target, grant);
        }
    }
    grants
}

fn pair_grants<K, V>(
    layers: &[View<'_>],
    section: &'static str,
    list: &'static str,
) -> PairGrants<K, V>
where
    K: Ord + std::str::FromStr,
    V: Ord + std::str::FromStr,
{
    let mut grants = PairGrants::default();
    for (key, view) in layers.iter().flat_map(|layer| layer.map(section)) {
        let allowed = if view.texts(list).any(|(_, text)| text == ANY) {
            Allowed::All
        } else {
            let texts = view.texts(list);
            Allowed::Only(texts.filter_map(|(_, text)| text.parse().ok()).collect())
        };
        if key.name == ANY {
            grants.any = Some(allowed);
        } else if let Ok(thing) = key.name.parse() {
            grants.named.insert(thing, allowed);
        }
    }
    grants
}

fn egress(view: &View<'_>) -> Option<Egress> {
    Some(Egress {
        cidr: format::parse_cidr(view.text("cidr")?).ok()?,
        port: view.small_int("port")?,
    })
}

fn level(text: &str) -> Option<Level> {
    match text {
        "viewer" => Some(Level::Viewer),
        "operator" => Some(Level::Operator),
        "admin" => Some(Level::Admin),
        _ => None,
    }
}

/// Identities in use, with the key path of their agent and their position.
#[derive(Default)]
struct Identities {
    uids: BTreeMap<u32, (String, Place)>,
    keys: BTreeMap<String, (String, Place)>,
}

fn check_identity(view: &View<'_>, used: &mut Identities, findings: &mut Findings) {
    let owner = view.own_path().to_owned();
    if let Some(uid) = view.int("uid") {
        let (at, path) = (view.at("uid"), view.path("uid"));
        check_uid(uid, at, &path, findings);
        match used.uids.get(&uid) {
            Some((other, first)) => {
                let message = format!(
                    "uid {uid} is already used by {other} ({}); give each agent its own user",
                    first.line_text()
                );
                findings.add("E-DUPLICATE-UID", at, path, message);
            }
            None => {
                used.uids.insert(uid, (owner.clone(), at));
            }
        }
    }
    for key in ["api_key_hash", "api_key_hash_credential"] {
        let Some(text) = view.text(key) else {
            continue;
        };
        match used.keys.get(text) {
            Some((other, first)) if *other != owner => {
                let message = format!(
                    "the same API key as {other} ({}); give each agent its own",
                    first.line_text()
                );
                findings.add("E-SHARED-KEY", view.at(key), view.path(key), message);
            }
            _ => {
                used.keys
                    .insert(text.to_owned(), (owner.clone(), view.at(key)));
            }
        }
    }
    if view.has("api_key_hash") && view.has("api_key_hash_credential") {
        let message = "the agent also has `api_key_hash`; keep one of the two";
        let at = view.at("api_key_hash_credential");
        let path = view.path("api_key_hash_credential");
        findings.add("E-TWO-KEY-SOURCES", at, path, message);
    }
}

fn check_uid(uid: u32, at: Place, path: &str, findings: &mut Findings) {
    // `nobody`, its 16-bit form, and the kernel's two "no user" values.
    const RESERVED: [u32; 4] = [65_534, 65_535, u32::MAX - 1, u32::MAX];
    if uid == 0 {
        let message = "an agent must not be root, which can bypass every control on the appliance; use a user of \
                       its own";
        findings.add("E-UID-ROOT", at, path, message);
    } else if RESERVED.contains(&uid) {
        let message = format!("uid {uid} is reserved; use a user of its own");
        findings.add("E-UID-RESERVED", at, path, message);
    }
}

fn check_agent(view: &View<'_>, agent: &Agent, findings: &mut Findings) {
    let has_key = view.has("api_key_hash") || view.has("api_key_hash_credential");
    if !view.has("uid") && !has_key && !agent.delegated_only {
        let message = "the agent has neither `uid` nor `api_key_hash`, so it cannot authenticate; add one (or \
                       `delegated_only: true`)";
        findings.add("E-NO-IDENTITY", view.here(), view.own_path(), message);
    }
    if agent.delegated_only && agent.accept_delegation_from.is_empty() {
        let message = "a delegated_only agent acts only by delegation; name the delegating agents under \
                       `accept_delegation_from`";
        findings.add("E-DELEGATED-ONLY", view.here(), view.own_path(), message);
    }
    if agent.accept_delegation_from.contains(&agent.name) {
        let message = "an agent may always delegate to itself; remove its own name";
        let at = view.at("accept_delegation_from");
        let path = view.path("accept_delegation_from");
        findings.add("E-SELF-DELEGATION", at, path, message);
    }
    if !agent.egress.is_empty() && !view.has("uid") {
        let message = "`egress` opens the appliance's firewall for a UID, but this agent has no `uid`; add it";
        findings.add(
            "E-EGRESS-NO-UID",
            view.at("egress"),
            view.path("egress"),
            message,
        );
    }
    let weak = view
        .text("api_key_hash")
        .and_then(format::bcrypt_cost)
        .filter(|cost| *cost < 10);
    if let Some(cost) = weak {
        let message = format!("bcrypt cost {cost} makes guessing fast; hash with cost 10");
        let at = view.at("api_key_hash");
        findings.add("W-BCRYPT-WEAK", at, view.path("api_key_hash"), message);
    }
}

pub(super) fn compile_admins(
    root: &View<'_>,
    findings: &mut Findings,
) -> BTreeMap<AgentName, Admin> {
    let mut admins = BTreeMap::new();
    let mut uids: BTreeMap<u32, (String, Place)> = BTreeMap::new();
    let mut keys: BTreeSet<ssh_key::public::KeyData> = BTreeSet::new();
    for (key, view) in root.map("admins") {
        if !view.has("uid") && !view.has("ssh_keys") {
            let message =
                "the admin has neither `uid` nor `ssh_keys`, so it cannot authenticate; add one";
            findings.add("E-ADMIN-IDENTITY", view.here(), view.own_path(), message);
        }
        if let Some(uid) = view.int("uid") {
            if let Some((other, at)) = uids.get(&uid) {
                let message = format!(
                    "uid {uid} is already used by {other} ({}); give each admin its own user",
                    at.line_text()
                );
                findings.add("E-DUPLICATE-UID", view.at("uid"), view.path("uid"), message);
            } else {
                uids.insert(uid, (view.own_path().to_owned(), view.at("uid")));
            }
        }
        let mut ssh_keys = Vec::new();
        for (index, text) in view.texts("ssh_keys") {
            let Ok(parsed) = format::parse_key(text) else {
                continue;
            };
            if !keys.insert(parsed.key_data().clone()) {
                let (at, path) = view.place_of("ssh_keys", index);
                let message = "another admin has this key, so a signature would not identify the signer; use \
                               another key";
                findings.add("E-SHARED-ADMIN-KEY", at, path, message);
            }
            ssh_keys.push(parsed);
        }
        let Ok(name) = key.name.parse::<AgentName>() else {
            continue;
        };
        let admin = Admin {
            name: name.clone(),
            uid: view.int("uid"),
            ssh_keys,
            level: view.text("level").and_then(level).unwrap_or(Level::Admin),
            description: view.text("description").unwrap_or_default().to_owned(),
        };
        admins.insert(name, admin);
    }
    admins
}

/// Reports admins with an agent's UID: an agent must not approve its own actions.
pub(super) fn check_admins(
    root: &View<'_>,
    agents: &BTreeMap<AgentName, Agent>,
    findings: &mut Findings,
) {
    for (_, view) in root.map("admins") {
        let Some(uid) = view.int("uid") else {
            continue;
        };
        if let Some(agent) = agents.values().find(|agent| agent.uid == Some(uid)) {
            let message = format!(
                "uid {uid} is agent `{}`, which could approve its own actions; use another user",
                agent.name
            );
            findings.add(
                "E-ADMIN-IS-AGENT",
                view.at("uid"),
                view.path("uid"),
                message,
            );
        }
    }
}
