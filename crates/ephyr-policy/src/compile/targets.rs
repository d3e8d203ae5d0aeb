//! Section `targets`.

use std::collections::{BTreeMap, BTreeSet};

use ephyr_names::{AgentName, RoleName, TargetName};

use super::view::View;
use crate::diagnostic::{Findings, Place};
use crate::format;
use crate::model::{Admin, Approval, Global, HostKey, Level, Role, Target};
use crate::suggest;

pub(super) fn compile(
    root: &View<'_>,
    global: &Global,
    roles: &BTreeMap<RoleName, Role>,
    findings: &mut Findings,
) -> BTreeMap<TargetName, Target> {
    let declared: BTreeSet<String> = root
        .map("roles")
        .iter()
        .map(|(key, _)| key.name.clone())
        .collect();
    let mut targets = BTreeMap::new();
    let mut endpoints = BTreeMap::new();
    for (key, view) in root.map("targets") {
        check_endpoint(&view, &mut endpoints, findings);
        check_ttl(&view, global, findings);
        check_allowed_roles(&view, &declared, roles, findings);
        let host_key = host_key(&view, global, findings);
        let (Ok(name), Some(host)) = (key.name.parse::<TargetName>(), view.text("host")) else {
            continue;
        };
        let target = Target {
            name: name.clone(),
            host: host.to_owned(),
            port: view.small_int("port").unwrap_or(22),
            vlan: view.small_int("vlan"),
            allowed_roles: view
                .texts("allowed_roles")
                .filter_map(|(_, text)| text.parse().ok())
                .collect(),
            max_ttl: view.ttl("max_ttl").unwrap_or(global.max_ttl),
            auto_approve: view.bool("auto_approve").unwrap_or(false),
            approval: match view.text("approval") {
                Some("signed") => Approval::Signed,
                _ => Approval::Plain,
            },
            force_command: view.text("force_command").map(str::to_owned),
            host_key,
            source_address: view.cidrs("source_address"),
            description: view.text("description").unwrap_or_default().to_owned(),
            enabled: view.bool("enabled").unwrap_or(true),
        };
        targets.insert(name, target);
    }
    targets
}

/// Reports a target with the host and port of another. The two would share accounts, so the limits of one could be
/// bypassed through the other.
fn check_endpoint(
    view: &View<'_>,
    seen: &mut BTreeMap<(String, u16), (Place, String)>,
    findings: &mut Findings,
) {
    let Some(host) = view.text("host") else {
        return;
    };
    let host = match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.to_ascii_lowercase(),
    };
    let port = view.small_int("port").unwrap_or(22);
    let here = (view.at("host"), view.own_path().to_owned());
    if let Some((at, path)) = seen.get(&(host.clone(), port)) {
        let message = format!(
            "the same host and port as {path} ({}); make them one target",
            at.line_text()
        );
        findings.add("E-DUPLICATE-HOST", here.0, view.path("host"), message);
    } else {
        seen.insert((host, port), here);
    }
}

fn check_ttl(view: &View<'_>, global: &Global, findings: &mut Findings) {
    if let Some(ttl) = view.ttl("max_ttl").filter(|ttl| *ttl > global.max_ttl) {
        let message = format!(
            "{ttl} is longer than global.max_ttl ({}); shorten it or raise global.max_ttl",
            global.max_ttl
        );
        let at = view.at("max_ttl");
        findings.add("E-TARGET-TTL", at, view.path("max_ttl"), message);
    }
}

fn check_allowed_roles(
    view: &View<'_>,
    declared: &BTreeSet<String>,
    roles: &BTreeMap<RoleName, Role>,
    findings: &mut Findings,
) {
    let mut accounts: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, name) in view.texts("allowed_roles") {
        let (at, path) = view.place_of("allowed_roles", index);
        if !declared.contains(name) {
            let hint = suggest::hint(name, declared.iter().map(String::as_str));
            let message = format!("there is no role `{name}` under `roles`{hint}");
            findings.add("E-UNKNOWN-ROLE", at, path, message);
            continue;
        }
        let Some(role) = roles.get(name) else {
            continue;
        };
        let account = role.principal.as_str();
        match accounts.get(account) {
            Some(other) if *other != name => {
                let message = format!(
                    "roles `{other}` and `{name}` use the same account (`{account}`) on this target, so each would \
                     have the rights of both; give each role its own account"
                );
                findings.add("E-SHARED-ACCOUNT", at, path, message);
            }
            _ => {
                accounts.insert(account, name);
            }
        }
    }
}

fn host_key(view: &View<'_>, global: &Global, findings: &mut Findings) -> HostKey {
    let keys: Vec<ssh_key::PublicKey> = view
        .texts("host_key")
        .filter_map(|(_, text)| format::parse_key(text).ok())
        .collect();
    let pin = view
        .text("host_key_fingerprint")
        .and_then(|text| format::parse_fingerprint(text).ok());
    if let Some(pin) = pin {
        let matches = |key: &ssh_key::PublicKey| key.fingerprint(pin.algorithm()) == pin;
        if !keys.is_empty() && !keys.iter().any(matches) {
            let message = "no host_key of this target has this fingerprint; remove the wrong one";
            let at = view.at("host_key_fingerprint");
            let path = view.path("host_key_fingerprint");
            findings.add("E-FINGERPRINT-MISMATCH", at, path, message);
        }
    }
    if !keys.is_empty() {
        return HostKey::Keys(keys);
    }
    if let Some(pin) = pin {
        return HostKey::Fingerprint(pin);
    }
    let given = view.has("host_key") || view.has("host_key_fingerprint");
    if !given && global.host_key_strict {
        let message = "no host key is pinned; write the output of `ephyr host-key HOST` under `host_key` (or set \
                       global.host_key_strict to false)";
        findings.add("E-HOST-KEY-MISSING", view.here(), view.own_path(), message);
    } else if !given {
        let message =
            "no host key is pinned, so the target can be impersonated; pin its `host_key`";
        findings.add("W-UNPINNED", view.here(), view.own_path(), message);
    }
    HostKey::Unpinned
}

/// Reports targets that require signed approval if no admin can sign.
pub(super) fn check_signed_approval(
    root: &View<'_>,
    targets: &BTreeMap<TargetName, Target>,
    admins: &BTreeMap<AgentName, Admin>,
    findings: &mut Findings,
) {
    let can_sign = |admin: &Admin| admin.level == Level::Admin && !admin.ssh_keys.is_empty();
    if admins.values().any(can_sign) {
        return;
    }
    for (key, view) in root.map("targets") {
        let signed = targets
            .get(key.name.as_str())
            .is_some_and(|target| target.approval == Approval::Signed);
        if signed {
            let message = "no admin can sign; add `ssh_keys` to an admin of level admin";
            let at = view.at("approval");
            findings.add("E-SIGNED-NO-KEY", at, view.path("approval"), message);
        }
    }
}
