//! Policy reload: a valid policy applies to everything at once, an invalid one to nothing.

use ephyr_testkit::{ApiKey, Mcp, World, json, skip};

use crate::helpers::{details, eventually, exec, record, records};

fn allowed(agent: &mut Mcp) -> Option<()> {
    (!exec(agent, "web", "operator", "true").is_error).then_some(())
}

#[test]
fn w18_reload_applies_to_connected_clients() {
    let mut world = World::start().unwrap();
    if !world.accounts().have_role_accounts() {
        return skip("needs an account for each role, which only root can create");
    }
    let mut scout = world.mcp_with_key("scout").unwrap();
    assert!(allowed(&mut scout).is_none());
    world
        .change_policy(|policy| {
            policy["agents"]["scout"]["ssh"]["web"]["roles"] = json!(["read", "operator"]);
        })
        .unwrap();
    world.reload().unwrap();
    eventually("the new role", || allowed(&mut scout));

    let other = ApiKey::generate("scout").unwrap().hash;
    world
        .change_policy(|policy| policy["agents"]["scout"]["api_key_hash"] = json!(other))
        .unwrap();
    world.reload().unwrap();
    eventually("the end of the old key", || {
        (scout.call("list_targets", json!({})).unwrap().status == 401).then_some(())
    });
}

#[test]
fn invalid_policy_is_reported_and_changes_nothing() {
    let mut world = World::start().unwrap();
    let before = world.policy().clone();
    world
        .change_policy(|policy| policy["agents"]["scout"]["shh"] = json!({}))
        .unwrap();
    world.reload().unwrap();
    let failed = record(&world, "the failure", |r| {
        r["event"] == "policy_reload_failed"
    });
    assert!(
        failed["detail"]["error"]
            .as_str()
            .unwrap()
            .contains("agents.scout.shh"),
        "{failed}"
    );
    let mut scout = world.mcp_with_key("scout").unwrap();
    assert!(!exec(&mut scout, "web", "read", "true").is_error);
    world.change_policy(|policy| *policy = before).unwrap();
    world.reload().unwrap();
    record(&world, "the reload", |r| r["event"] == "policy_reload");
}

#[test]
fn reload_refuses_a_policy_that_is_not_a_regular_file() {
    let mut world = World::start().unwrap();
    let policy = world.policy_path();
    let put: [(&str, &dyn Fn()); 4] = [
        ("it is a FIFO", &|| {
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &policy, kind, mode, 0).unwrap();
        }),
        ("it is a directory", &|| {
            std::fs::create_dir(&policy).unwrap();
        }),
        ("it is a character device", &|| {
            std::os::unix::fs::symlink("/dev/zero", &policy).unwrap();
        }),
        ("it is longer than", &|| {
            // A sparse gigabyte.
            let file = std::fs::File::create(&policy).unwrap();
            file.set_len(1 << 30).unwrap();
        }),
    ];
    let mut scout = world.mcp_with_key("scout").unwrap();
    for (why, put) in put {
        let _ = std::fs::remove_file(&policy);
        let _ = std::fs::remove_dir(&policy);
        put();
        // The signer is told to reload as well, and keeps its policy.
        world.reload().unwrap();
        record(&world, why, |r| {
            let error = r["detail"]["error"].as_str().unwrap_or_default();
            r["event"] == "policy_reload_failed" && error.contains(why)
        });
        let (status, text) = check(&world);
        assert_eq!(status, Some(78), "{text}");
        assert!(text.contains(why), "{text}");
        assert!(!exec(&mut scout, "web", "read", "true").is_error);
    }
    std::fs::remove_file(&policy).unwrap();
    world
        .change_policy(|policy| policy["global"]["max_ttl"] = json!("29m"))
        .unwrap();
    world.reload().unwrap();
    record(&world, "the reload", |r| r["event"] == "policy_reload");
    world.broker().unwrap().stop().unwrap();
}

#[test]
fn reload_ends_actions_that_are_no_longer_allowed() {
    let mut world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let thread = std::thread::spawn(move || {
        scout
            .tool(
                "exec",
                json!({"target": "web", "role": "read", "command": "sleep 100", "timeout": 90}),
            )
            .unwrap()
    });
    record(&world, "the attempt", |r| r["event"] == "exec_attempt");
    std::thread::sleep(std::time::Duration::from_millis(500));
    world
        .change_policy(|policy| policy["agents"]["scout"]["ssh"] = json!({}))
        .unwrap();
    world.reload().unwrap();
    let ended = thread.join().unwrap();
    assert!(
        ended.is_error && ended.text.contains("policy_changed"),
        "{}",
        ended.text
    );
    let mut scout = world.mcp_with_key("scout").unwrap();
    let tools = scout
        .request("tools/list", json!({}))
        .unwrap()
        .ok()
        .unwrap();
    assert!(
        !tools["tools"].to_string().contains("\"exec\""),
        "without a target there is no exec"
    );
}

#[test]
fn stop_does_not_wait_for_a_reload() {
    let mut world = World::start().unwrap();
    world
        .change_policy(|policy| policy["global"]["max_ttl"] = json!("29m"))
        .unwrap();
    // The signer is not told to reload, so this reload waits until it fails.
    let broker = world.broker().unwrap();
    broker.signal(rustix::process::Signal::HUP).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    world.broker().unwrap().stop().unwrap();
    let log = records(&world);
    let has = |event: &str| log.iter().any(|record| record["event"] == event);
    assert!(has("shutdown"));
    assert!(!has("policy_reload_failed"), "the reload was abandoned");
}

#[test]
fn action_needs_the_same_policy_in_both_daemons() {
    let mut world = World::start().unwrap();
    world
        .change_policy(|policy| policy["global"]["max_ttl"] = json!("29m"))
        .unwrap();
    // Only the signer reloads: the broker still decides by the old policy, and the signer refuses.
    world
        .signer()
        .unwrap()
        .signal(rustix::process::Signal::HUP)
        .unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let arguments = json!({"target": "web", "role": "read", "command": "true"});
    eventually("the refusal", || {
        let answer = scout.call("exec", arguments.clone()).unwrap().ok().unwrap();
        (answer["isError"] == true).then_some(())
    });
    assert_eq!(
        details(&mut scout, "exec", arguments)["reason"],
        "policy_mismatch"
    );
    world
        .broker()
        .unwrap()
        .signal(rustix::process::Signal::HUP)
        .unwrap();
    eventually("the same policy", || {
        (!exec(&mut scout, "web", "read", "true").is_error).then_some(())
    });
}

/// Runs `ephyr-broker --check` as the broker's user; returns exit status and output.
#[cfg(test)]
fn check(world: &World) -> (Option<i32>, String) {
    let mut command = world.command("bin/ephyr-broker", "ephyr-broker").unwrap();
    let output = command
        .arg("--check")
        .arg("--policy")
        .arg(world.policy_path())
        .arg("--signer-socket")
        .arg(world.signer_socket())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

#[test]
fn check_reports_the_same_errors_as_a_reload() {
    let mut world = World::start().unwrap();
    assert_eq!(check(&world), (Some(0), String::new()));
    let before = world.policy().clone();
    world
        .change_policy(|policy| policy["agents"]["scout"]["shh"] = json!({}))
        .unwrap();
    let (status, text) = check(&world);
    assert_eq!(status, Some(78), "{text}");
    assert!(text.contains("agents.scout.shh"), "{text}");
    world.change_policy(|policy| *policy = before).unwrap();
    // A valid policy that the signer has not loaded.
    world
        .change_policy(|policy| policy["global"]["max_ttl"] = json!("29m"))
        .unwrap();
    let (status, text) = check(&world);
    assert_eq!(status, Some(78), "{text}");
    assert!(text.contains("reload ephyr-signer first"), "{text}");
    // A credential that only the service can read is not an error.
    world
        .change_policy(|policy| {
            policy["agents"]["far"] = json!({"api_key_hash_credential": "far"});
        })
        .unwrap();
    let signer = world.signer().unwrap();
    signer.signal(rustix::process::Signal::HUP).unwrap();
    assert_eq!(check(&world), (Some(0), String::new()));
}

#[test]
fn health_reports_the_signers_sandbox_and_policy() {
    let world = World::start().unwrap();
    let builder = world.unix("builder").unwrap();
    let signer = eventually("the signer's answer to a ping", || {
        let health = builder.request("GET", "/v1/health", &[], b"").unwrap();
        let details = health.json().unwrap()["details"].clone();
        (!details["signer"].is_null()).then_some(details)
    });
    assert_eq!(signer["signer"]["policy"], signer["policy"]);
    assert_eq!(signer["signer"]["sandbox"]["seccomp"], true);
    assert_eq!(
        signer["signer"]["sandbox"]["landlock_abi"],
        signer["sandbox"]["landlock_abi"]
    );
}
