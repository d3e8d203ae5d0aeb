//! Compiles a checked tree into a [`Policy`]: reads values, merges templates, resolves names and reports every fault
//! that concerns more than one key.

mod access;
mod agents;
mod roles;
mod services;
mod targets;
mod view;
mod warnings;

use std::collections::BTreeMap;
use std::sync::Arc;

use ephyr_names::{Digest, Ttl};
use sha2::{Digest as _, Sha256};

use self::view::View;
use crate::check;
use crate::diagnostic::{Diagnostics, Findings};
use crate::fields;
use crate::model::{Access, External, Global, Network, Policy, Sandbox, Signer};
use crate::rate::Rate;
use crate::shape::Shape;
use crate::source;

/// Parses and compiles a policy.
///
/// `file_name` only appears in the findings; no file is opened. JSON is accepted as a subset of YAML.
///
/// # Errors
/// Returns [`Diagnostics`] with every finding, of which at least one is an error.
pub fn load(source: &[u8], file_name: &str) -> Result<Policy, Diagnostics> {
    let mut findings = Findings::new(file_name);
    let policy = source::parse(source, &mut findings).map(|root| {
        let shape = Shape::Record(&fields::POLICY);
        check::check(&root, &shape, "", &mut findings);
        let malformed = findings.has_errors();
        let hash = Digest(Sha256::digest(source).into());
        let policy = compile(&View::root(&root), hash, &mut findings);
        if malformed {
            // Malformed values look like missing ones to the compiler, so its warnings may be wrong.
            findings.drop_warnings();
        }
        policy
    });
    let (list, failed) = findings.finish();
    match policy {
        Some(mut policy) if !failed => {
            policy.warnings = list;
            Ok(policy)
        }
        _ => Err(Diagnostics::new(list)),
    }
}

/// Builds the policy from the well-formed values. If others were reported, [`load`] discards the result.
fn compile(root: &View<'_>, hash: Digest, findings: &mut Findings) -> Policy {
    let global = global(&root.section("global"), findings);
    let roles = roles::compile(root, findings);
    let targets = targets::compile(root, &global, &roles, findings);
    let services = services::compile_services(root, findings);
    let remotes = services::compile_remotes(root, findings);
    let admins = agents::compile_admins(root, findings);
    let agents = agents::compile(root, findings);
    access::check(root, &agents, &services, findings);
    agents::check_admins(root, &agents, findings);
    targets::check_signed_approval(root, &targets, &admins, findings);
    warnings::check(root, &agents, &global, findings);
    let roles: BTreeMap<_, _> = roles.into_iter().map(|(n, r)| (n, Arc::new(r))).collect();
    let targets: BTreeMap<_, _> = targets.into_iter().map(|(n, t)| (n, Arc::new(t))).collect();
    let services = services
        .into_iter()
        .map(|(n, s)| (n, Arc::new(s)))
        .collect();
    let remotes = remotes.into_iter().map(|(n, r)| (n, Arc::new(r))).collect();
    let agents: BTreeMap<_, _> = agents
        .into_iter()
        .map(|(name, mut agent)| {
            agent.access = Access::new(&agent.ssh, &targets, &roles);
            (name, Arc::new(agent))
        })
        .collect();
    let uids = agents
        .values()
        .filter_map(|agent| Some((agent.uid?, Arc::clone(agent))))
        .collect();
    Policy {
        hash,
        warnings: Vec::new(),
        global,
        agent_index: agents
            .iter()
            .map(|(n, a)| (n.clone(), Arc::clone(a)))
            .collect(),
        agents,
        uids,
        roles,
        targets,
        services,
        remotes,
        network: network(&root.section("network"), findings),
        admins,
        signer: signer(&root.section("signer"), findings),
        sandbox: Sandbox {
            minimum_abi: root.section("sandbox").int("minimum_abi").unwrap_or(0),
        },
    }
}

const MINUTE: u64 = 60;

fn global(view: &View<'_>, findings: &mut Findings) -> Global {
    let global = Global {
        max_active_certs: view.int("max_active_certs").unwrap_or(10),
        default_ttl: view
            .ttl("default_ttl")
            .unwrap_or(Ttl::from_secs(5 * MINUTE)),
        max_ttl: view.ttl("max_ttl").unwrap_or(Ttl::from_secs(30 * MINUTE)),
        rate_limit: view.rate("rate_limit"),
        host_key_strict: view.bool("host_key_strict").unwrap_or(true),
    };
    if global.default_ttl > global.max_ttl {
        let message = format!(
            "default_ttl ({}) is longer than max_ttl ({}); shorten it or raise max_ttl",
            global.default_ttl, global.max_ttl
        );
        let key = if view.has("default_ttl") {
            "default_ttl"
        } else {
            "max_ttl"
        };
        findings.add("E-DEFAULT-TTL", view.at(key), view.path(key), message);
    }
    global
}

fn signer(view: &View<'_>, findings: &mut Findings) -> Signer {
    const PER_MINUTE: Ttl = Ttl::from_secs(MINUTE);
    let rate = |key, count| {
        view.rate(key).unwrap_or(Rate {
            count,
            window: PER_MINUTE,
        })
    };
    let signer = Signer {
        rate_limit: rate("rate_limit", 60),
        global_rate_limit: rate("global_rate_limit", 600),
        delegation_ttl: view
            .ttl("delegation_ttl")
            .unwrap_or(Ttl::from_secs(60 * MINUTE)),
    };
    let (one, all) = (signer.rate_limit, signer.global_rate_limit);
    // Compares counts per second without division.
    let over =
        u64::from(one.count) * all.window.as_secs() > u64::from(all.count) * one.window.as_secs();
    if over {
        let key = if view.has("rate_limit") {
            "rate_limit"
        } else {
            "global_rate_limit"
        };
        let message = "the rate of one agent is higher than that of all agents together; raise global_rate_limit";
        findings.add("E-RATE-ORDER", view.at(key), view.path(key), message);
    }
    signer
}

fn network(view: &View<'_>, findings: &mut Findings) -> Network {
    let allowed: Vec<String> = view
        .texts("external_allow")
        .map(|(_, text)| text.to_owned())
        .collect();
    let external = match view.text("external") {
        Some("open") => External::Open,
        Some("restricted") => External::Restricted(allowed.clone()),
        _ => External::Deny,
    };
    if view.has("external_allow") && !matches!(external, External::Restricted(_)) {
        let message = "external_allow takes effect only with `external: restricted`; set that or remove the key";
        let at = view.at("external_allow");
        findings.add("E-EXTERNAL-ALLOW", at, view.path("external_allow"), message);
    }
    Network {
        allow_cidrs: view.cidrs("allow_cidrs"),
        deny_cidrs: view.cidrs("deny_cidrs"),
        external,
    }
}
