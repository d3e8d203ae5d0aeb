//! Faults of the predecessor that only the whole broker can show; `docs/faults.md` lists all of them.

use std::time::{Duration, Instant};

use ephyr_testkit::{Mcp, World, json, skip};

use crate::helpers::{details, exec, task};

#[test]
fn w3_token_keeps_the_roles_of_each_target() {
    let world = World::builder()
        .edit(|policy, _| {
            policy["agents"]["scout"]["ssh"] =
                json!({"web": {"roles": ["operator"]}, "db": {"roles": ["read"]}});
            policy["targets"]["db"]["allowed_roles"] = json!(["read", "operator"]);
        })
        .start()
        .unwrap();
    if !world.accounts().have_role_accounts() {
        return skip("needs an account for each role, which only root can create");
    }
    let (_, token) = task(&mut world.mcp_with_key("scout").unwrap());
    let mut scout = world.mcp_with_token(&token).unwrap();
    assert!(!exec(&mut scout, "web", "operator", "true").is_error);
    assert!(!exec(&mut scout, "db", "read", "true").is_error);
    for (target, role) in [("db", "operator"), ("web", "read")] {
        let refused = details(
            &mut scout,
            "exec",
            json!({"target": target, "role": role, "command": "true"}),
        );
        assert_eq!(refused["step"], 3, "{target}/{role}");
    }
}

#[test]
fn w4_mcp_exec_obeys_approval_and_force_command() {
    let world = World::builder()
        .edit(|policy, _| {
            policy["targets"]["db"]["auto_approve"] = json!(false);
            policy["targets"]["web"]["force_command"] = json!("echo forced");
            policy["agents"]["builder"]["ssh"]["web"]["roles"] = json!(["read"]);
        })
        .start()
        .unwrap();
    let mut builder = world.mcp_by_uid("builder").unwrap();
    let pending = details(
        &mut builder,
        "exec",
        json!({"target": "db", "role": "read", "command": "true"}),
    );
    assert_eq!(
        (&pending["step"], &pending["reason"]),
        (&json!(8), &json!("approval_unavailable"))
    );
    assert_eq!(
        exec(&mut builder, "web", "read", "echo asked").value["stdout"],
        "forced\n"
    );
}

#[test]
fn w5_unix_api_obeys_the_grants() {
    let world = World::start().unwrap();
    let builder = world.unix("builder").unwrap();
    let key = world.ca().public_line().unwrap();
    let ask = |target: &str, role: &str| {
        let body = json!({"target": target, "role": role, "public_key": key}).to_string();
        let answer = builder.request(
            "POST",
            "/v1/request",
            &[("Content-Type", "application/json")],
            body.as_bytes(),
        );
        answer.unwrap()
    };
    let granted = ask("web", "read");
    assert_eq!(granted.status, 200, "{}", granted.text());
    assert_eq!(granted.json().unwrap()["principal"], "web/read");
    for (target, role) in [("web", "admin"), ("db", "operator"), ("nowhere", "read")] {
        let refused = ask(target, role);
        assert_eq!(refused.status, 403, "{target}/{role}: {}", refused.text());
    }
}

#[test]
fn w6_empty_intersection_of_roles_grants_none() {
    let world = World::builder()
        .edit(|policy, _| {
            policy["agents"]["scout"]["ssh"] =
                json!({"*": {"roles": ["admin"]}, "web": {"roles": ["read"]}});
        })
        .start()
        .unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let listed = scout.tool("list_targets", json!({})).unwrap().value;
    assert_eq!(
        listed["targets"].as_array().unwrap().len(),
        1,
        "db has no role in common"
    );
    for role in ["read", "operator", "admin"] {
        assert!(exec(&mut scout, "db", role, "true").is_error, "{role}");
    }
    assert!(!exec(&mut scout, "web", "read", "true").is_error);
}

#[test]
fn w19_last_slot_is_granted_once() {
    let world = World::builder()
        .edit(|policy, _| policy["agents"]["scout"]["max_concurrent_certs"] = json!(1))
        .start()
        .unwrap();
    let (tcp, key) = (
        world.tcp().unwrap(),
        world.api_key("scout").unwrap().to_owned(),
    );
    let threads: Vec<_> = (0..12)
        .map(|_| {
            let mut scout = Mcp::new(tcp.clone(), Some(&key));
            std::thread::spawn(move || !exec(&mut scout, "web", "read", "sleep 3").is_error)
        })
        .collect();
    let ran = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .filter(|ran| *ran)
        .count();
    assert_eq!(ran, 1);
    assert!(
        !exec(
            &mut world.mcp_with_key("scout").unwrap(),
            "web",
            "read",
            "true"
        )
        .is_error,
        "the slot is free again"
    );
}

#[test]
fn w26_wrong_keys_delay_only_the_caller_that_tries_them() {
    let world = World::start().unwrap();
    let tcp = world.tcp().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    scout.tool("list_targets", json!({})).unwrap();
    let attackers: Vec<_> = (0..16)
        .map(|n| {
            let wrong = format!("eph_scout_{n:043}");
            let mut attacker = Mcp::new(tcp.clone(), Some(&wrong));
            std::thread::spawn(move || {
                let begun = Instant::now();
                let mut attempts = 0;
                while begun.elapsed() < Duration::from_secs(3) {
                    let status = attacker.call("list_targets", json!({})).unwrap().status;
                    assert!(matches!(status, 401 | 429), "{status}");
                    attempts += 1;
                }
                attempts
            })
        })
        .collect();
    for _ in 0..50 {
        assert!(!scout.tool("list_targets", json!({})).unwrap().is_error);
    }
    let attempts: u32 = attackers
        .into_iter()
        .map(|attacker| attacker.join().unwrap())
        .sum();
    assert!(attempts <= 16 * 5, "{attempts} attempts in 3 s");
}

#[test]
fn w37_typo_in_the_policy_is_an_error() {
    let mut world = World::builder()
        .edit(|policy, _| policy["targets"]["web"]["force_comand"] = json!("true"))
        .prepare()
        .unwrap();
    assert!(world.start_signer().is_err());
    let refused = world.start_broker().err().unwrap().to_string();
    assert!(refused.contains("targets.web.force_comand"), "{refused}");
}
