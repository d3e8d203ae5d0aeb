//! Kills the broker and the signer repeatedly while agents send requests.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ephyr_testkit::{Builder, Mcp, Result, Value, World, json, run};

/// How often a test kills its daemon.
const KILLS: u32 = 4;
/// The number of concurrent agents.
const AGENTS: u32 = 4;

/// The directory in which commands on the target create files, as proof that they ran.
#[cfg(test)]
fn marks(world: &World) -> std::path::PathBuf {
    let marks = world.dir().join("marks");
    fs::create_dir_all(&marks).unwrap();
    fs::set_permissions(&marks, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    marks
}

/// The task ids and tokens of all successful responses.
#[derive(Default)]
struct Acknowledged {
    live: Vec<(String, String)>,
    revoked: Vec<(String, String)>,
}

/// Runs one agent until `stop`: it executes commands, creates tasks and revokes half of them.
#[cfg(test)]
fn work(mut client: Mcp, me: u32, marks: &str, stop: &AtomicBool, log: &Mutex<Acknowledged>) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let mark = format!("{me}-{round}");
        // Calls fail while a daemon is down; only successful responses are recorded.
        let _ = client.tool(
            "exec",
            json!({"target": "web", "role": "read", "command": format!(": > {marks}/{mark}")}),
        );
        let Ok(made) = client.tool("task_create", json!({"description": mark})) else {
            continue;
        };
        if made.is_error {
            continue;
        }
        let text = |name: &str| made.value[name].as_str().unwrap_or_default().to_owned();
        let (id, token) = (text("task_id"), text("token"));
        if round % 2 == 0 {
            log.lock().unwrap().live.push((id, token));
            continue;
        }
        if let Ok(answer) = client.tool("task_revoke", json!({"task_id": id}))
            && answer.value["revoked"] == true
        {
            log.lock().unwrap().revoked.push((id, token));
        }
    }
}

/// Runs agents while `disturb` runs, and returns the responses that they received.
#[cfg(test)]
fn under_load(world: &mut World, disturb: impl FnOnce(&mut World)) -> Acknowledged {
    let marks = marks(world).display().to_string();
    let (stop, log) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(Acknowledged::default())),
    );
    let agents: Vec<_> = (0..AGENTS)
        .map(|me| {
            let client = world.mcp_with_key("scout").unwrap();
            let (marks, stop, log) = (marks.clone(), Arc::clone(&stop), Arc::clone(&log));
            std::thread::spawn(move || work(client, me, &marks, &stop, &log))
        })
        .collect();
    disturb(world);
    // On a busy machine one task may take longer than all the restarts.
    let start = Instant::now();
    let enough = || {
        let log = log.lock().unwrap();
        !log.live.is_empty() && !log.revoked.is_empty()
    };
    while !enough() && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::Relaxed);
    for agent in agents {
        agent.join().unwrap();
    }
    std::mem::take(&mut *log.lock().unwrap())
}

#[cfg(test)]
fn verify(world: &World) -> Result<Value> {
    let mut command = world.own_command("bin/ephyr");
    command
        .args(["audit", "verify", "--json", "--log"])
        .arg(world.audit_log());
    command.arg("--ca-pub").arg(world.ca_pub());
    let ran = run(command, "")?;
    assert_eq!(ran.code, 0, "{}", ran.err);
    Ok(ran.out.parse().unwrap())
}

/// The commands with an attempt record in the audit log.
#[cfg(test)]
fn attempted(world: &World) -> BTreeSet<String> {
    let log = fs::read_to_string(world.audit_log()).unwrap();
    log.lines()
        .map(|line| line.parse::<Value>().unwrap())
        .filter(|record| record["event"] == "exec_attempt")
        .filter_map(|record| record["action"]["command"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
fn check(world: &World, acknowledged: &Acknowledged) {
    assert!(
        !acknowledged.live.is_empty() && !acknowledged.revoked.is_empty(),
        "the agents received no successful responses"
    );
    verify(world).unwrap();
    let marks = marks(world);
    let attempted = attempted(world);
    let effects: Vec<_> = fs::read_dir(&marks)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!effects.is_empty());
    for effect in effects {
        let command = format!(": > {}", effect.display());
        assert!(
            attempted.contains(&command),
            "no attempt record for {command}"
        );
    }
    for (id, token) in &acknowledged.live {
        let mut task = world.mcp_with_token(token).unwrap();
        let info = task.tool("task_info", json!({})).unwrap();
        assert_eq!(info.value["task"]["id"], json!(id), "{}", info.text);
    }
    for (id, token) in &acknowledged.revoked {
        let mut task = world.mcp_with_token(token).unwrap();
        let refused = task
            .tool("list_targets", json!({}))
            .unwrap_err()
            .to_string();
        assert!(refused.contains("revoked"), "task {id}: {refused}");
    }
}

fn with_high_quota() -> Builder {
    World::builder()
        .edit(|policy, _| policy["agents"]["scout"]["max_concurrent_certs"] = 100.into())
}

/// Pauses of different length, so that kills interrupt different steps of a request.
fn pause(round: u32) -> Duration {
    Duration::from_millis(150 + u64::from(round * 97 % 230))
}

#[test]
fn killed_broker_keeps_answered_tasks_and_a_valid_log() {
    let mut world = with_high_quota().start().unwrap();
    let acknowledged = under_load(&mut world, |world| {
        for round in 0..KILLS {
            std::thread::sleep(pause(round));
            world.broker().unwrap().kill().unwrap();
            world.start_broker().unwrap();
        }
        std::thread::sleep(pause(KILLS));
    });
    check(&world, &acknowledged);
}

#[test]
fn broker_recovers_when_a_killed_signer_restarts() {
    let mut world = with_high_quota().start().unwrap();
    let acknowledged = under_load(&mut world, |world| {
        for round in 0..KILLS {
            std::thread::sleep(pause(round));
            world.signer().unwrap().kill().unwrap();
            std::thread::sleep(pause(round + 1) / 4);
            world.start_signer().unwrap();
        }
        std::thread::sleep(pause(KILLS));
    });
    check(&world, &acknowledged);
    let mut scout = world.mcp_with_key("scout").unwrap();
    let ran = scout
        .tool(
            "exec",
            json!({"target": "web", "role": "read", "command": "echo back"}),
        )
        .unwrap();
    assert_eq!(ran.value["stdout"], "back\n", "{}", ran.text);
}

#[test]
fn exec_without_the_signer_is_refused_with_the_cause() {
    let mut world = World::start().unwrap();
    world.signer().unwrap().kill().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let arguments = json!({"target": "web", "role": "read", "command": "echo never"});
    let refused = scout.tool("exec", arguments.clone()).unwrap();
    assert!(refused.is_error, "{}", refused.value);
    assert!(refused.text.contains("signer"), "{}", refused.text);
    world.start_signer().unwrap();
    let ran = scout.tool("exec", arguments).unwrap();
    assert_eq!(ran.value["stdout"], "never\n", "{}", ran.text);
}

#[test]
fn sigterm_ends_both_daemons_and_leaves_a_complete_log() {
    let mut world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    scout
        .tool(
            "exec",
            json!({"target": "web", "role": "read", "command": "true"}),
        )
        .unwrap();
    for outcome in [
        world.broker().unwrap().stop().unwrap(),
        world.signer().unwrap().stop().unwrap(),
    ] {
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    let report = verify(&world).unwrap();
    assert_eq!(report["open_attempts"], json!([]));
}
