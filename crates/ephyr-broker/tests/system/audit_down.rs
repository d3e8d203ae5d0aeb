//! Nothing takes effect that is not recorded.

use ephyr_testkit::{World, json, skip};

use crate::helpers::{eventually, exec, records};

#[test]
fn w25_with_a_log_that_cannot_be_written_nothing_runs_and_afterwards_it_does() {
    let mut world = World::start().unwrap();
    if !world.accounts().are_separate() {
        return skip("needs prlimit on another user's process, which only root may");
    }
    let pid = world.broker().unwrap().pid();
    let mut scout = world.mcp_with_key("scout").unwrap();
    assert!(!exec(&mut scout, "web", "read", "true").is_error);
    let before = records(&world).len();
    // The file may grow no further: every write beyond fails as on a full disk.
    let size = std::fs::metadata(world.audit_log()).unwrap().len();
    let limit = |limit: String| {
        let mut prlimit = std::process::Command::new("prlimit");
        let done = prlimit
            .arg(format!("--pid={pid}"))
            .arg(format!("--fsize={limit}"))
            .status()
            .unwrap();
        assert!(done.success());
    };
    limit(format!("{size}:unlimited"));
    let marker = world.dir().join("never");
    let refused = exec(
        &mut scout,
        "web",
        "read",
        &format!("touch {}", marker.display()),
    );
    assert!(
        refused.is_error && refused.text.contains("nothing was run"),
        "{}",
        refused.text
    );
    let refused = scout
        .tool("task_create", json!({"description": "x"}))
        .unwrap();
    assert!(refused.is_error, "{}", refused.text);
    assert!(!marker.exists());
    limit("unlimited:unlimited".to_owned());
    eventually("the log's recovery", || {
        (!exec(&mut scout, "web", "read", "true").is_error).then_some(())
    });
    assert!(records(&world).len() > before);
}

#[test]
fn the_log_verifies_with_the_ca_key_alone_after_a_stop() {
    let mut world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    for _ in 0..5 {
        exec(&mut scout, "web", "read", "true");
    }
    world.broker().unwrap().stop().unwrap();
    let verify = || {
        let mut command = world.own_command("bin/ephyr");
        command
            .args(["audit", "verify"])
            .arg(world.audit_log())
            .arg("--ca-pub")
            .arg(world.ca_pub());
        command.output().unwrap()
    };
    let good = verify();
    assert!(
        good.status.success(),
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    let text = std::fs::read_to_string(world.audit_log()).unwrap();
    let changed = text.replacen("\"exec_attempt\"", "\"exec_outcome\"", 1);
    assert_ne!(text, changed);
    std::fs::write(world.audit_log(), changed).unwrap();
    assert!(!verify().status.success());
}
