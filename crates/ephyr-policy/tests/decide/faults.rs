//! Regression tests for known faults of policy and ledger (`docs/faults.md`).

use std::sync::{Arc, Mutex};

use crate::world::{World, exec, login, policy, task};
use ephyr_names::Ttl;
use ephyr_policy::{
    CertificateKind, Decision, Ledger, LedgerEntry, Purpose, ReasonCode, Subject, authorize, load,
};
use ephyr_token::{Grants, Scope};

#[test]
fn w3_token_neither_bypasses_policy_nor_mixes_roles_of_targets() {
    let mut world = World::new();
    // The current policy applies whatever the token allows.
    for (target, role) in [("db", "read"), ("web", "admin"), ("db", "admin")] {
        world.action = exec(target, role, "id");
        let denial = world.decide().unwrap_err();
        assert_eq!(
            (denial.step, denial.reason),
            (3, ReasonCode::RoleNotGranted),
            "{target}/{role}"
        );
    }
    // A token for `look` on web and `read` on db does not allow `read` on web.
    let pairs = [("web", "look"), ("db", "read")];
    let envelope = world.subject.envelope.as_mut().unwrap();
    envelope.ssh = pairs
        .iter()
        .map(|(t, r)| (t.parse().unwrap(), r.parse().unwrap()))
        .collect();
    world.action = exec("web", "read", "id");
    assert_eq!(
        world.decide().unwrap_err().reason,
        ReasonCode::OutsideEnvelope
    );
    // Removing the grant from the policy affects tokens already issued.
    world.subject.envelope.as_mut().unwrap().ssh = Grants::Any;
    assert!(world.decide().is_ok());
    world.edit("web: { roles: [read, look] }", "web: { roles: [look] }");
    assert_eq!(
        world.decide().unwrap_err().reason,
        ReasonCode::RoleNotGranted
    );
}

#[test]
fn w4_exec_takes_the_same_eight_steps() {
    // Approval, the target's maximum duration and both limits apply to exec.
    let mut world = World::new();
    world.edit("auto_approve: true", "auto_approve: false");
    assert_eq!(world.decide().unwrap_err().step, 8);

    let mut world = World::new();
    world.edit("max_ttl: 20m", "max_ttl: 10s");
    assert_eq!(world.decide().unwrap().ttl(), Ttl::from_secs(10));
    assert!(world.decide().is_ok());
    assert_eq!(world.decide().unwrap_err().reason, ReasonCode::AgentLimit);

    let mut world = World::new();
    world.edit("max_active_certs: 4", "max_active_certs: 1");
    assert!(world.decide().is_ok());
    assert_eq!(world.decide().unwrap_err().reason, ReasonCode::GlobalLimit);

    // A grant can require approval that the target does not.
    let mut world = World::new();
    world.edit(
        "roles: [read, look, admin] }",
        "roles: [read, look, admin], auto_approve: false }",
    );
    assert_eq!(
        world.decide().unwrap_err().reason,
        ReasonCode::ApprovalUnavailable
    );
}

#[test]
fn w5_agent_identified_by_uid_has_only_its_granted_roles() {
    let policy = World::new().policy();
    let agent = policy.agent_by_uid(1002).unwrap();
    assert!(policy.agent_by_uid(0).is_none());
    let mut world = World::new();
    world.subject = Subject::direct(agent.name.clone());
    world.action = login("web", "admin", Purpose::User);
    assert!(world.decide().is_ok());
    world.action = login("db", "read", Purpose::User);
    assert_eq!(
        world.decide().unwrap_err().reason,
        ReasonCode::RoleNotGranted
    );
}

#[test]
fn w6_empty_intersection_of_roles_denies_every_role() {
    // The agent's only role does not exist on the target.
    let mut world = World::new();
    world.edit(
        "web: { roles: [read, look, admin] }",
        "web: { roles: [admin] }",
    );
    world.edit(
        "allowed_roles: [read, look, admin]",
        "allowed_roles: [read, look]",
    );
    for role in ["read", "look", "admin"] {
        world.action = exec("web", role, "uptime");
        assert_eq!(world.decide().unwrap_err().step, 3, "{role}");
    }
    // An agent without any grant has no access.
    let mut world = World::new();
    world.edit(
        "      web: { roles: [read, look] }\n      db: { roles: [read] }\n",
        "      db: { roles: [read] }\n",
    );
    world.edit("    ssh:\n      web: { roles: [read, look, admin] }\n", "");
    world.subject = Subject::direct("child".parse().unwrap());
    assert_eq!(
        world.decide().unwrap_err().reason,
        ReasonCode::RoleNotGranted
    );
    // A token with an empty scope denies.
    let mut world = World::new();
    world.subject.envelope.as_mut().unwrap().roles = Scope::none();
    assert_eq!(
        world.decide().unwrap_err().reason,
        ReasonCode::OutsideEnvelope
    );
    // A policy cannot contain an empty list of roles.
    let empty = world
        .text
        .replace("web: { roles: [read, look] }", "web: { roles: [] }");
    let diagnostics = load(empty.as_bytes(), "p.yaml").unwrap_err();
    assert!(diagnostics.into_iter().any(|d| d.code == "E-EMPTY-LIST"));
}

#[test]
fn w19_concurrent_requests_cannot_exceed_the_limit() {
    let mut world = World::new();
    world.edit("max_active_certs: 4", "max_active_certs: 40");
    let policy = Arc::new(world.policy());
    let world = Arc::new(Mutex::new(world));
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let (world, policy) = (Arc::clone(&world), Arc::clone(&policy));
            std::thread::spawn(move || world.lock().unwrap().decide_by(&policy).is_ok())
        })
        .collect();
    let granted = threads.into_iter().map(|t| t.join().unwrap());
    assert_eq!(granted.filter(|ok| *ok).count(), 2);
    assert_eq!(world.lock().unwrap().ledger.len(), 2);
}

#[test]
fn w19_renewal_at_the_limit_reports_the_replaced_certificate() {
    let mut world = World::new();
    world.edit(
        "max_concurrent_certs: 2\n    accept",
        "max_concurrent_certs: 1\n    accept",
    );
    world.action = login("web", "read", Purpose::User);
    let first = world.decide().unwrap();
    // The signer's clock may be slightly ahead.
    let expires = world.now.after(first.ttl()).after(Ttl::from_secs(2));
    world.ledger.confirm(first.slot(), expires);

    let second = world.decide().unwrap();
    assert_eq!(second.replaced()[0].slot, first.slot());
    assert_eq!(
        second.replaced()[0].expires,
        Some(expires),
        "the permit names the certificate to end"
    );

    // If the new certificate cannot be issued, the old one is still valid and counts.
    world.ledger.abandon(second.slot());
    assert_eq!(
        world.ledger.entry(first.slot()).unwrap().expires,
        Some(expires)
    );
    world.action = exec("web", "read", "uptime");
    assert_eq!(world.decide().unwrap_err().reason, ReasonCode::AgentLimit);
    world.now = expires;
    assert!(world.decide().is_ok());
}

#[test]
fn w19_overlapping_renewals_keep_every_valid_certificate() {
    let slots = |permit: &ephyr_policy::SshPermit| -> Vec<_> {
        permit.replaced().iter().map(|e| e.slot).collect()
    };
    let held = |world: &World| -> Vec<_> { world.ledger.active().map(|e| e.slot).collect() };
    let start = || {
        let mut world = World::new();
        world.action = login("web", "read", Purpose::User);
        let [first, second, third] = [(); 3].map(|()| world.decide().unwrap());
        (world, first, second, third)
    };

    let (mut world, first, second, third) = start();
    assert_eq!(slots(&third), [first.slot(), second.slot()]);
    assert_eq!(held(&world), [third.slot()]);
    world.ledger.abandon(third.slot());
    assert_eq!(held(&world), [second.slot()]);
    world.ledger.abandon(second.slot());
    assert_eq!(held(&world), [first.slot()]);

    let (mut world, first, second, third) = start();
    world.ledger.abandon(second.slot());
    world.ledger.abandon(third.slot());
    assert_eq!(held(&world), [first.slot()], "the second was never issued");

    let (mut world, first, second, third) = start();
    world.ledger.release(second.slot());
    world.ledger.release(first.slot());
    world.ledger.abandon(third.slot());
    assert!(world.ledger.is_empty(), "released slots are not restored");

    let (mut world, _, _, third) = start();
    world
        .ledger
        .confirm(third.slot(), world.now.after(third.ttl()));
    world.ledger.abandon(third.slot());
    assert!(
        world.ledger.is_empty(),
        "the entries that the third replaced are not restored"
    );
}

#[test]
fn w19_late_certificate_counts_if_its_replacement_is_abandoned() {
    let mut world = World::new();
    world.action = login("web", "read", Purpose::User);
    let [first, second, third] = [(); 3].map(|()| world.decide().unwrap());
    let expires = world.now.after(Ttl::from_secs(1000));
    let confirmed = world.ledger.confirm(second.slot(), expires).unwrap();
    assert_eq!(confirmed.expires, Some(expires));
    assert!(
        world.ledger.entry(second.slot()).is_none(),
        "the third slot replaced it"
    );
    world.ledger.abandon(third.slot());
    let held: Vec<_> = world.ledger.active().map(|e| (e.slot, e.expires)).collect();
    assert_eq!(held, [(second.slot(), Some(expires))]);
    world.ledger.abandon(second.slot());
    assert!(
        world.ledger.entry(first.slot()).is_none(),
        "the second certificate was confirmed, so the first is not restored"
    );
    assert!(world.ledger.confirm(first.slot(), expires).is_none());
}

#[test]
fn w19_expired_renewal_restores_the_longer_certificate() {
    let mut world = World::new();
    world.action = login("web", "read", Purpose::User);
    let first = world.decide().unwrap();
    world
        .ledger
        .confirm(first.slot(), world.now.after(first.ttl()));
    world.action.ttl = Some(Ttl::from_secs(1));
    let second = world.decide().unwrap();
    world.now = world.now.after(Ttl::from_secs(1));
    let expired: Vec<_> = world
        .ledger
        .expire(world.now)
        .iter()
        .map(|e| e.slot)
        .collect();
    assert_eq!(expired, [second.slot()]);
    assert!(world.ledger.entry(first.slot()).is_some(), "still valid");
    world.now = world.now.after(first.ttl());
    world.ledger.expire(world.now);
    assert!(world.ledger.is_empty());
}

#[test]
fn w19_policy_reload_keeps_every_certificate() {
    let mut world = World::new();
    let _held = (world.decide().unwrap(), world.decide().unwrap());
    world.edit("default_ttl: 5m", "default_ttl: 4m");
    assert_eq!(world.decide().unwrap_err().reason, ReasonCode::AgentLimit);
    world.edit(
        "max_concurrent_certs: 2\n    accept",
        "max_concurrent_certs: 1\n    accept",
    );
    assert_eq!(world.decide().unwrap_err().reason, ReasonCode::AgentLimit);
}

#[test]
fn w37_certificate_expires_and_is_restored_only_while_valid() {
    let mut world = World::new();
    world.action = login("web", "read", Purpose::User);
    let permit = world.decide().unwrap();
    let entry = world.ledger.entry(permit.slot()).unwrap().clone();
    let end = world.now.after(permit.ttl());
    assert!(world.ledger.expire(world.now).is_empty());
    assert_eq!(world.ledger.expire(end), std::slice::from_ref(&entry));
    assert!(world.ledger.is_empty());

    assert!(!world.ledger.restore(entry.clone(), end));
    assert!(world.ledger.restore(entry.clone(), world.now));
    assert!(
        !world.ledger.restore(entry.clone(), world.now),
        "a slot is restored once"
    );
    let command = LedgerEntry {
        kind: CertificateKind::Exec,
        slot: serde_json::from_str("99").unwrap(),
        ..entry.clone()
    };
    assert!(
        !world.ledger.restore(command, world.now),
        "a command ends with the broker"
    );

    // After a restart slot numbers continue, and taking a slot frees expired ones.
    world.ledger = Ledger::new();
    let saved = serde_json::to_string(&entry).unwrap();
    assert!(
        world
            .ledger
            .restore(serde_json::from_str(&saved).unwrap(), world.now)
    );
    world.subject.lineage[1].0 = task(7);
    let next = world.decide().unwrap();
    assert!(next.slot() > entry.slot, "no slot is used twice");
    world.subject.envelope.as_mut().unwrap().expires = end.after(Ttl::from_secs(60));
    world.now = end;
    assert!(world.decide().is_ok());
    assert_eq!(world.ledger.len(), 1);
}

#[test]
fn w37_typo_in_a_restriction_refuses_the_policy() {
    let text = World::new().text;
    for (from, to, code) in [
        (
            "commands: [uptime, 'cat *']",
            "comands: [uptime]",
            "E-UNKNOWN-KEY",
        ),
        ("max_ttl: 20m", "max_tll: 20m", "E-UNKNOWN-KEY"),
        ("max_ttl: 20m", "command_deny: ['rm *']", "E-COMMAND-FILTER"),
        ("max_ttl: 20m", "max_ttl: 20", "E-TYPE"),
        (
            "max_ttl: 20m",
            "max_ttl: 20m\n    max_ttl: 24h",
            "E-DUPLICATE-KEY",
        ),
        ("auto_approve: true", "auto_approve: \"false\"", "E-TYPE"),
    ] {
        assert!(text.contains(from));
        let text = text.replacen(from, to, 1);
        let diagnostics = load(text.as_bytes(), "p.yaml").unwrap_err();
        assert!(
            diagnostics.into_iter().any(|d| d.code == code),
            "{to}: {diagnostics}"
        );
    }
}

#[test]
fn agent_without_grants_is_denied() {
    let policy = policy("agents: { lonely: { uid: 7 } }\n");
    let mut world = World::new();
    world.subject = Subject::direct("lonely".parse().unwrap());
    let decision = authorize(
        &policy,
        &mut world.ledger,
        &world.subject,
        &world.action,
        world.now,
    );
    assert!(matches!(decision, Decision::Denied(denial) if denial.cause().step == 2));
}
