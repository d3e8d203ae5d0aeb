//! The contents of answers, and the visibility of targets.

use ephyr_policy::{ReasonCode, reachable};
use ephyr_token::Grants;

use crate::world::{World, exec, task};

#[test]
fn denials_list_alternatives() {
    let mut world = World::new();
    world.action = exec("db", "read", "uptime");
    let denial = world.decide().unwrap_err();
    assert_eq!(denial.alternatives, ["web as look", "web as read"]);
    world.action = exec("web", "look", "reboot");
    assert_eq!(
        world.decide().unwrap_err().alternatives,
        ["uptime", "cat *"]
    );
    let wire = serde_json::to_value(world.decide().unwrap_err()).unwrap();
    assert_eq!(wire["reason"], ReasonCode::CommandNotAllowed.as_str());
}

#[test]
fn invisible_target_is_answered_like_an_unknown_one() {
    let answer = |world: &mut World, target: &str| {
        world.action = exec(target, "read", "uptime");
        let denial = world.decide().unwrap_err();
        let wire = serde_json::to_string(&denial).unwrap();
        (wire.replace(target, "?"), denial.cause().reason)
    };
    let mut world = World::new();
    let (granted_to_others, reason) = answer(&mut world, "db");
    assert_eq!(reason, ReasonCode::RoleNotGranted);
    let (unknown, reason) = answer(&mut world, "nil");
    assert_eq!(
        reason,
        ReasonCode::TargetUnknown,
        "the cause is kept for the audit log"
    );
    assert_eq!(granted_to_others, unknown);
    world.edit(
        "allowed_roles: [read]\n",
        "allowed_roles: [read]\n    enabled: false\n",
    );
    let (disabled, reason) = answer(&mut world, "db");
    assert_eq!(reason, ReasonCode::TargetDisabled);
    assert_eq!(disabled, unknown);
    // For a visible target, the answer gives the reason.
    world.edit("enabled: true", "enabled: false");
    let (visible, reason) = answer(&mut world, "web");
    assert_eq!(reason, ReasonCode::TargetDisabled);
    assert!(visible.contains("is disabled in the policy"), "{visible}");
}

#[test]
fn subject_sees_only_targets_and_roles_it_may_use() {
    let mut world = World::new();
    let seen = |world: &World| -> Vec<String> {
        let policy = world.policy();
        reachable(&policy, &world.subject)
            .iter()
            .flat_map(|r| {
                r.roles
                    .iter()
                    .map(|role| format!("{}/{} {}", r.target.name, role.name, r.enabled))
            })
            .collect()
    };
    assert_eq!(seen(&world), ["web/look true", "web/read true"]);
    world.edit("enabled: true", "enabled: false");
    assert_eq!(seen(&world), ["web/look false", "web/read false"]);
    world.subject.envelope.as_mut().unwrap().ssh = Grants::none();
    assert_eq!(seen(&world), [] as [&str; 0]);
    world.subject.envelope = None;
    assert_eq!(
        seen(&world),
        [] as [&str; 0],
        "a token without envelope must not be treated as no token"
    );
}

#[test]
fn permit_carries_the_decision() {
    let mut world = World::new();
    let policy = world.policy();
    let permit = world.decide_by(&policy).unwrap();
    let authorization = permit.authorization();
    assert_eq!(authorization.agent().as_str(), "child");
    assert_eq!(
        (authorization.root(), authorization.task()),
        (Some(task(1)), Some(task(2)))
    );
    assert_eq!(permit.target().host(), "web.example");
    assert_eq!(permit.target().port(), 22);
    assert_eq!(permit.target().account().as_str(), "agent-read");
    assert_eq!(authorization.policy_hash(), policy.hash());
    let entry = world.ledger.entry(permit.slot()).unwrap();
    assert_eq!((entry.agent.as_str(), entry.expires), ("child", None));
}
