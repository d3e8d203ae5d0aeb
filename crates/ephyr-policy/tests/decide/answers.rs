//! What an answer tells, and what a subject gets to see.

use ephyr_policy::{ReasonCode, reachable};
use ephyr_token::Grants;

use crate::world::{World, exec, task};

#[test]
fn a_denial_names_what_could_be_asked_for_instead() {
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
fn a_target_out_of_sight_is_told_like_one_that_does_not_exist() {
    let told = |world: &mut World, target: &str| {
        world.action = exec(target, "read", "uptime");
        let denial = world.decide().unwrap_err();
        let wire = serde_json::to_string(&denial).unwrap();
        (wire.replace(target, "?"), denial.cause().reason)
    };
    let mut world = World::new();
    let (of_others, reason) = told(&mut world, "db");
    assert_eq!(reason, ReasonCode::RoleNotGranted);
    let (of_none, reason) = told(&mut world, "nil");
    assert_eq!(reason, ReasonCode::TargetUnknown, "the log hears it");
    assert_eq!(of_others, of_none);
    world.edit(
        "allowed_roles: [read]\n",
        "allowed_roles: [read]\n    enabled: false\n",
    );
    let (switched_off, reason) = told(&mut world, "db");
    assert_eq!(reason, ReasonCode::TargetDisabled);
    assert_eq!(switched_off, of_none);
    // For a target that it can see, the answer gives the reason.
    world.edit("enabled: true", "enabled: false");
    let (in_sight, reason) = told(&mut world, "web");
    assert_eq!(reason, ReasonCode::TargetDisabled);
    assert!(in_sight.contains("switched off"), "{in_sight}");
}

#[test]
fn a_subject_sees_what_it_may_use_and_nothing_else() {
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
        "a token without envelope is not no token"
    );
}

#[test]
fn a_permit_tells_what_was_decided() {
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
