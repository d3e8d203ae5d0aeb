//! Nothing takes effect that is not recorded.

use ephyr_testkit::{World, json, skip};

use crate::helpers::{eventually, exec};

#[test]
fn w25_with_a_full_disk_nothing_runs_and_afterwards_it_does() {
    let mut world = World::builder().prepare().unwrap();
    if !world.accounts().are_separate() {
        return skip("needs a small file system of its own, which only root can mount");
    }
    let account = world.accounts().get("ephyr-broker").unwrap();
    let options = format!(
        "size=256k,mode=0750,uid={},gid={}",
        account.uid, account.gid
    );
    let audit_dir = world.dir().join("audit");
    let mut mount = world.own_command("/bin/mount");
    let mounted = mount
        .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
        .arg(&audit_dir)
        .status()
        .unwrap();
    assert!(mounted.success());
    world.start_signer().unwrap();
    world.start_broker().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    assert!(!exec(&mut scout, "web", "read", "true").is_error);

    // As the world's own namespace sees it, where the small file system is.
    let inside = world.state_dir().parent().unwrap().join("audit");
    let filler = inside.join("filler");
    assert!(
        std::fs::write(&filler, vec![0; 1 << 20]).is_err(),
        "the disk is full"
    );
    let marker = std::env::temp_dir().join(format!("ephyr-never-{}", std::process::id()));
    // What is left of the last page takes a few records yet.
    let refused = eventually("a full log", || {
        let ran = exec(&mut scout, "web", "read", "true");
        ran.is_error.then_some(ran)
    });
    assert!(refused.text.contains("nothing was run"), "{}", refused.text);
    let refused = exec(
        &mut scout,
        "web",
        "read",
        &format!("touch {}", marker.display()),
    );
    assert!(refused.is_error && !marker.exists(), "{}", refused.text);
    assert!(
        scout
            .tool("task_create", json!({"description": "x"}))
            .unwrap()
            .is_error
    );
    assert!(
        !scout.tool("list_targets", json!({})).unwrap().is_error,
        "what only looks goes on"
    );
    std::fs::remove_file(&filler).unwrap();
    eventually("the log's recovery", || {
        (!exec(&mut scout, "web", "read", "true").is_error).then_some(())
    });
    world.broker().unwrap().stop().unwrap();
    let log = std::fs::read_to_string(inside.join(world.audit_log().file_name().unwrap())).unwrap();
    assert!(
        log.contains("\"audit_recovered\"") || log.contains("\"audit_gap\""),
        "{log}"
    );
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
            .args(["audit", "verify", "--log"])
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

#[test]
fn w25_a_log_that_was_only_cut_at_its_end_does_not_verify() {
    let mut world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    for _ in 0..3 {
        exec(&mut scout, "web", "read", "true");
    }
    world.broker().unwrap().stop().unwrap();
    let verify = || {
        let mut command = world.own_command("bin/ephyr");
        command
            .args(["audit", "verify", "--log"])
            .arg(world.audit_log());
        command
            .arg("--ca-pub")
            .arg(world.ca_pub())
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(verify());
    let text = std::fs::read_to_string(world.audit_log()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let cut = format!("{}\n", lines[..lines.len() / 2].join("\n"));
    std::fs::write(world.audit_log(), cut).unwrap();
    assert!(!verify(), "the checkpoint beside it covers more records");
}

#[test]
fn under_load_the_signer_countersigns_many_records_at_a_time() {
    const CALLERS: usize = 8;
    let mut world = World::start().unwrap();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| world.mcp_with_key("scout").unwrap())
        .collect();
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for mut caller in callers {
            scope.spawn(move || {
                for _ in 0..400 {
                    let task = json!({"description": "load"});
                    assert!(!caller.tool("task_create", task).unwrap().is_error);
                }
            });
        }
    });
    world.broker().unwrap().stop().unwrap();
    let text = std::fs::read_to_string(world.audit_log()).unwrap();
    let signed = text.matches(r#""event":"checkpoint""#).count();
    // The broker looks twice a second; a round is one request for each thousand records.
    let rounds = usize::try_from(began.elapsed().as_millis() / 500).unwrap() + 2;
    let most = rounds + text.lines().count() / 1000 + 1;
    assert!((1..=most).contains(&signed), "{signed} of at most {most}");
}
