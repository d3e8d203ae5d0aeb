//! Faults of the earlier system that live in the policy and in the ledger: each has a test that fails when
//! it comes back.

use std::sync::{Arc, Mutex};

use crate::world::{World, exec, login, policy, task};
use ephyr_names::Ttl;
use ephyr_policy::{
    CertificateKind, Decision, Ledger, LedgerEntry, Purpose, ReasonCode, Subject, authorize, load,
};
use ephyr_token::{Grants, Scope};

#[test]
fn w3_a_task_token_does_not_shed_the_policy_nor_mix_roles_across_targets() {
    let mut world = World::new();
    // Whatever the token says, the policy of today decides.
    for (target, role) in [("db", "read"), ("web", "admin"), ("db", "admin")] {
        world.action = exec(target, role, "id");
        let denial = world.decide().unwrap_err();
        assert_eq!(
            (denial.step, denial.reason),
            (3, ReasonCode::RoleNotGranted),
            "{target}/{role}"
        );
    }
    // A token for `look` on web and `read` on db is not one for `read` on web.
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
    // Withdrawing the grant takes it from the tokens that are out.
    world.subject.envelope.as_mut().unwrap().ssh = Grants::Any;
    assert!(world.decide().is_ok());
    world.edit("web: { roles: [read, look] }", "web: { roles: [look] }");
    assert_eq!(
        world.decide().unwrap_err().reason,
        ReasonCode::RoleNotGranted
    );
}

#[test]
fn w4_exec_takes_the_same_eight_steps_as_every_other_way_in() {
    // Approval, the target's own greatest duration and both limits hold for exec.
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

    // A grant that wants approval gets it wherever the target does not.
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
fn w5_an_agent_known_by_its_uid_has_only_the_roles_it_is_granted() {
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
fn w6_an_empty_intersection_of_roles_is_no_role_rather_than_every_role() {
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
    // A token of which nothing is left denies, too.
    let mut world = World::new();
    world.subject.envelope.as_mut().unwrap().roles = Scope::none();
    assert_eq!(
        world.decide().unwrap_err().reason,
        ReasonCode::OutsideEnvelope
    );
    // And a policy cannot even say it.
    let empty = world
        .text
        .replace("web: { roles: [read, look] }", "web: { roles: [] }");
    let diagnostics = load(empty.as_bytes(), "p.yaml").unwrap_err();
    assert!(diagnostics.into_iter().any(|d| d.code == "E-EMPTY-LIST"));
}

#[test]
fn w19_twenty_requests_at_once_get_no_more_slots_than_the_limit() {
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
fn w19_renewing_at_the_limit_works_and_the_old_certificate_is_ended_rather_than_forgotten() {
    let mut world = World::new();
    world.edit(
        "max_concurrent_certs: 2\n    accept",
        "max_concurrent_certs: 1\n    accept",
    );
    world.action = login("web", "read", Purpose::User);
    let first = world.decide().unwrap();
    // The signer's clock may be a little later than ours.
    let expires = world.now.after(first.ttl()).after(Ttl::from_secs(2));
    world.ledger.confirm(first.slot(), expires);

    let second = world.decide().unwrap();
    assert_eq!(second.replaced()[0].slot, first.slot());
    assert_eq!(
        second.replaced()[0].expires,
        Some(expires),
        "who gets the permit knows what to end"
    );

    // When the new one could not be issued, the old one still is out and still counts.
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
fn w19_renewals_that_overtake_each_other_forget_no_certificate_that_is_out() {
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
    assert!(
        world.ledger.is_empty(),
        "what was released does not come back"
    );

    let (mut world, _, _, third) = start();
    world
        .ledger
        .confirm(third.slot(), world.now.after(third.ttl()));
    world.ledger.abandon(third.slot());
    assert!(
        world.ledger.is_empty(),
        "what was ended for the third does not come back"
    );
}

#[test]
fn w19_a_certificate_that_is_issued_late_counts_if_the_one_that_overtook_it_is_abandoned() {
    let mut world = World::new();
    world.action = login("web", "read", Purpose::User);
    let [first, second, third] = [(); 3].map(|()| world.decide().unwrap());
    let expires = world.now.after(Ttl::from_secs(1000));
    let confirmed = world.ledger.confirm(second.slot(), expires).unwrap();
    assert_eq!(confirmed.expires, Some(expires));
    assert!(
        world.ledger.entry(second.slot()).is_none(),
        "the third has its place"
    );
    world.ledger.abandon(third.slot());
    let held: Vec<_> = world.ledger.active().map(|e| (e.slot, e.expires)).collect();
    assert_eq!(held, [(second.slot(), Some(expires))]);
    world.ledger.abandon(second.slot());
    assert!(
        world.ledger.entry(first.slot()).is_none(),
        "replaced for good"
    );
    assert!(world.ledger.confirm(first.slot(), expires).is_none());
}

#[test]
fn w19_a_renewal_that_outlasts_its_own_time_forgets_no_longer_certificate() {
    let mut world = World::new();
    world.action = login("web", "read", Purpose::User);
    let first = world.decide().unwrap();
    world
        .ledger
        .confirm(first.slot(), world.now.after(first.ttl()));
    world.action.ttl = Some(Ttl::from_secs(1));
    let second = world.decide().unwrap();
    world.now = world.now.after(Ttl::from_secs(1));
    let over: Vec<_> = world
        .ledger
        .expire(world.now)
        .iter()
        .map(|e| e.slot)
        .collect();
    assert_eq!(over, [second.slot()]);
    assert!(world.ledger.entry(first.slot()).is_some(), "still out");
    world.now = world.now.after(first.ttl());
    world.ledger.expire(world.now);
    assert!(world.ledger.is_empty());
}

#[test]
fn w19_a_reload_of_the_policy_forgets_no_certificate() {
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
fn w37_a_certificate_in_the_ledger_ends_with_its_time_and_is_restored_only_while_it_lasts() {
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
        "a slot is taken once"
    );
    let command = LedgerEntry {
        kind: CertificateKind::Exec,
        slot: serde_json::from_str("99").unwrap(),
        ..entry.clone()
    };
    assert!(
        !world.ledger.restore(command, world.now),
        "a command does not outlive the broker"
    );

    // After a restart slots go on where they were, and what is over goes as soon as one is taken.
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
fn w37_a_typo_in_a_restriction_refuses_the_policy() {
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
fn a_decision_without_any_policy_for_the_agent_is_a_denial() {
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
