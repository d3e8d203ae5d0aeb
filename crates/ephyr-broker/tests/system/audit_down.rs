//! Without a working audit log, no action takes effect.

use ephyr_testkit::{Value, World, json, run, skip};

use crate::helpers::{eventually, exec};

#[test]
fn w25_full_disk_stops_commands_until_space_is_freed() {
    let mut world = World::builder().prepare().unwrap();
    if !world.accounts().are_separate() {
        return skip("needs a small file system, which only root can mount");
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

    // The path in the mount namespace of the world, where the small file system is mounted.
    let inside = world.state_dir().parent().unwrap().join("audit");
    let filler = inside.join("filler");
    assert!(
        std::fs::write(&filler, vec![0; 1 << 20]).is_err(),
        "the disk is full"
    );
    let marker = std::env::temp_dir().join(format!("ephyr-never-{}", std::process::id()));
    // The last page still has space for a few records.
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
        "reads still work"
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

/// Returns the broker's health with the details.
#[cfg(test)]
fn health(world: &World) -> Value {
    let builder = world.unix("builder").unwrap();
    let health = builder.request("GET", "/v1/health", &[], b"").unwrap();
    health.json().unwrap()
}

#[test]
fn removed_log_stops_actions_until_it_is_continued() {
    let mut world = World::start().unwrap();
    let log = world.audit_log();
    let mut scout = world.mcp_with_key("scout").unwrap();
    assert!(!exec(&mut scout, "web", "read", "true").is_error);
    let taken: [&dyn Fn(); 2] = [&|| std::fs::remove_file(&log).unwrap(), &|| {
        // The way logrotate does it: rename and create.
        std::fs::rename(&log, log.with_extension("1")).unwrap();
        std::fs::write(&log, "").unwrap();
    }];
    for (times, take) in taken.iter().enumerate() {
        let file = |log: &std::path::Path| {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata(log).map(|found| found.ino()).ok()
        };
        let before = file(&log);
        take();
        let there = file(&log);
        // Actions are refused, unless the broker has already noticed and continued the log.
        let ran = exec(&mut scout, "web", "read", "true");
        assert!(
            ran.text.contains("nothing is done unrecorded") || file(&log) != there,
            "a command ran without a log file: {}",
            ran.text
        );
        eventually("the log's continuation", || {
            let ran = exec(&mut scout, "web", "read", "true");
            (!ran.is_error && file(&log).is_some() && file(&log) != before).then_some(())
        });
        let log_text = eventually("the warning in the service log", || {
            let text = world.broker().unwrap().log();
            let warnings = text.matches("exclude it from logrotate").count();
            (warnings == times + 1).then_some(text)
        });
        assert!(log_text.contains("can be written again"), "{log_text}");
        eventually("health", || {
            (health(&world)["status"] == "ok").then_some(())
        });
    }
    world.broker().unwrap().kill().unwrap();
    world.start_broker().unwrap();
    world.broker().unwrap().stop().unwrap();
    let mut verify = world.own_command("bin/ephyr");
    verify
        .args(["audit", "verify", "--json", "--log"])
        .arg(&log);
    verify.arg("--ca-pub").arg(world.ca_pub());
    let verified = run(verify, "").unwrap();
    assert_eq!(verified.code, 0, "{}", verified.err);
    let report: Value = verified.out.parse().unwrap();
    assert_eq!(report["taken_away"], 2, "{report}");
    // The record of the checkpoint itself is the last one.
    assert_eq!(report["unsigned"], 0, "{report}");
}

#[test]
fn log_that_cannot_be_continued_degrades_health() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let (log, dir) = (
        world.audit_log(),
        world.audit_log().parent().unwrap().to_owned(),
    );
    let away = dir.with_extension("away");
    std::fs::rename(&dir, &away).unwrap();
    let refused = eventually("the refusal", || {
        let ran = exec(&mut scout, "web", "read", "true");
        ran.is_error.then_some(ran)
    });
    assert!(
        refused.text.contains("nothing is done unrecorded"),
        "{}",
        refused.text
    );
    let sick = health(&world);
    assert_eq!(sick["status"], "degraded", "{sick}");
    assert_eq!(sick["details"]["audit"]["ok"], false, "{sick}");
    let why = sick["details"]["audit"]["error"].as_str().unwrap();
    assert!(why.contains(log.to_str().unwrap()), "{why}");
    std::fs::rename(&away, &dir).unwrap();
    eventually("the log at its path again", || {
        (!exec(&mut scout, "web", "read", "true").is_error).then_some(())
    });
    eventually("health", || {
        (health(&world)["status"] == "ok").then_some(())
    });
}

#[test]
fn stopped_log_verifies_with_the_ca_key_alone() {
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
fn w25_log_cut_at_its_end_does_not_verify() {
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
fn signer_countersigns_many_records_at_once_under_load() {
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
    // The broker checks twice a second; each round sends one request per thousand records.
    let rounds = usize::try_from(began.elapsed().as_millis() / 500).unwrap() + 2;
    let most = rounds + text.lines().count() / 1000 + 1;
    assert!((1..=most).contains(&signed), "{signed} of at most {most}");
}
