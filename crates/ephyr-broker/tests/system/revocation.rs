//! A revoked task starts nothing more, and what it started is ended.

use ephyr_api::TaskRevokeArguments;
use ephyr_testkit::{World, json};

use crate::commands::is_alive;
use crate::helpers::{eventually, exec, record, task};

#[test]
fn revoking_a_task_ends_its_running_command_and_kills_its_token() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let (id, token) = task(&mut scout);
    let (_, beside) = task(&mut scout);
    let pid_file = world.dir().join("targets").join("pid");
    let pid_file = if pid_file.parent().unwrap().is_dir() {
        pid_file
    } else {
        std::env::temp_dir().join(format!("ephyr-{id}"))
    };
    let command = format!("echo $$ > {}; sleep 600", pid_file.display());
    let mut running = world.mcp_with_token(&token).unwrap();
    let thread = std::thread::spawn(move || {
        running
            .tool(
                "exec",
                json!({"target": "web", "role": "read", "command": command, "timeout": 120}),
            )
            .unwrap()
    });
    let pid: u32 = eventually("the start of the command", || {
        std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
    });
    assert!(is_alive(pid));

    let revoke = TaskRevokeArguments {
        task_id: id.clone(),
        dry_run: false,
    };
    let revoked = scout.invoke(&revoke).unwrap();
    assert_eq!(revoked.ended_actions, Some(1), "{revoked:?}");
    let ended = thread.join().unwrap();
    assert!(
        ended.is_error && ended.text.contains("task_revoked"),
        "{}",
        ended.text
    );
    eventually("the end of the remote shell", || {
        (!is_alive(pid)).then_some(())
    });
    let _ = std::fs::remove_file(&pid_file);
    let outcome = record(&world, "the outcome", |r| {
        r["event"] == "exec_outcome" && r["task"] == id.as_str()
    });
    assert_eq!(outcome["detail"]["error"], "task_revoked");

    let refused = world
        .mcp_with_token(&token)
        .unwrap()
        .call("list_targets", json!({}))
        .unwrap();
    assert_eq!(refused.status, 401);
    let alive = exec(
        &mut world.mcp_with_token(&beside).unwrap(),
        "web",
        "read",
        "echo still here",
    );
    assert_eq!(
        alive.value["stdout"], "still here\n",
        "the task beside it goes on"
    );
    let again = scout.invoke(&revoke).unwrap();
    assert!(again.revoked, "revoking twice is once");
}

#[test]
fn a_dry_run_of_a_revocation_revokes_nothing() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let (id, token) = task(&mut scout);
    let asked = TaskRevokeArguments {
        task_id: id,
        dry_run: true,
    };
    let asked = scout.invoke(&asked).unwrap();
    assert_eq!((asked.revoked, asked.cascade_count), (false, 1));
    assert_eq!(
        world
            .mcp_with_token(&token)
            .unwrap()
            .call("list_targets", json!({}))
            .unwrap()
            .status,
        200
    );
}
