//! Broker and signer are killed at bad moments, again and again, while agents are at work.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ephyr_testkit::{Builder, Mcp, Result, Value, World, json, run};

/// Deaths of each daemon in a test.
const DEATHS: u32 = 4;
/// Agents at work at once.
const AGENTS: u32 = 4;

/// Places where a command on the target can leave a mark.
#[cfg(test)]
fn marks(world: &World) -> std::path::PathBuf {
    let marks = world.dir().join("marks");
    fs::create_dir_all(&marks).unwrap();
    fs::set_permissions(&marks, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    marks
}

/// What agents have been told while the daemons came and went.
#[derive(Default)]
struct Told {
    live: Vec<(String, String)>,
    revoked: Vec<(String, String)>,
}

/// One agent's work until it is told to stop: tasks, some of them revoked, and commands with effects.
#[cfg(test)]
fn work(mut client: Mcp, me: u32, marks: &str, stop: &AtomicBool, told: &Mutex<Told>) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let mark = format!("{me}-{round}");
        // Calls fail while a daemon is away. What counts is what was answered.
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
            told.lock().unwrap().live.push((id, token));
            continue;
        }
        if let Ok(answer) = client.tool("task_revoke", json!({"task_id": id}))
            && answer.value["revoked"] == true
        {
            told.lock().unwrap().revoked.push((id, token));
        }
    }
}

/// Runs agents beside `disturb`, and gives what they were told.
#[cfg(test)]
fn under_load(world: &mut World, disturb: impl FnOnce(&mut World)) -> Told {
    let marks = marks(world).display().to_string();
    let (stop, told) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(Told::default())),
    );
    let agents: Vec<_> = (0..AGENTS)
        .map(|me| {
            let client = world.mcp_with_key("scout").unwrap();
            let (marks, stop, told) = (marks.clone(), Arc::clone(&stop), Arc::clone(&told));
            std::thread::spawn(move || work(client, me, &marks, &stop, &told))
        })
        .collect();
    disturb(world);
    // On a busy machine a task may take longer than all the deaths together.
    let begun = Instant::now();
    let enough = || {
        let told = told.lock().unwrap();
        !told.live.is_empty() && !told.revoked.is_empty()
    };
    while !enough() && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::Relaxed);
    for agent in agents {
        agent.join().unwrap();
    }
    std::mem::take(&mut *told.lock().unwrap())
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

/// The commands that the log has an attempt for.
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
fn check(world: &World, told: &Told) {
    assert!(
        !told.live.is_empty() && !told.revoked.is_empty(),
        "the agents got nothing done"
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
            "no attempt is recorded for {command}"
        );
    }
    for (id, token) in &told.live {
        let mut task = world.mcp_with_token(token).unwrap();
        let info = task.tool("task_info", json!({})).unwrap();
        assert_eq!(info.value["task"]["id"], json!(id), "{}", info.text);
    }
    for (id, token) in &told.revoked {
        let mut task = world.mcp_with_token(token).unwrap();
        let refused = task
            .tool("list_targets", json!({}))
            .unwrap_err()
            .to_string();
        assert!(refused.contains("revoked"), "task {id}: {refused}");
    }
}

fn crowded() -> Builder {
    World::builder()
        .edit(|policy, _| policy["agents"]["scout"]["max_concurrent_certs"] = 100.into())
}

/// Moments of different length, so that the deaths come at different places of the work.
fn moment(round: u32) -> Duration {
    Duration::from_millis(150 + u64::from(round * 97 % 230))
}

#[test]
fn a_killed_broker_keeps_its_word_and_its_log() {
    let mut world = crowded().start().unwrap();
    let told = under_load(&mut world, |world| {
        for round in 0..DEATHS {
            std::thread::sleep(moment(round));
            world.broker().unwrap().kill().unwrap();
            world.start_broker().unwrap();
        }
        std::thread::sleep(moment(DEATHS));
    });
    check(&world, &told);
}

#[test]
fn a_killed_signer_is_missed_only_while_it_is_away() {
    let mut world = crowded().start().unwrap();
    let told = under_load(&mut world, |world| {
        for round in 0..DEATHS {
            std::thread::sleep(moment(round));
            world.signer().unwrap().kill().unwrap();
            std::thread::sleep(moment(round + 1) / 4);
            world.start_signer().unwrap();
        }
        std::thread::sleep(moment(DEATHS));
    });
    check(&world, &told);
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
fn without_the_signer_nothing_runs_and_the_answer_says_so() {
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
fn a_stop_in_order_is_soon_over_and_leaves_a_whole_log() {
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
