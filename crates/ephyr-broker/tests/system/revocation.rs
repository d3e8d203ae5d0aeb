//! A revoked task starts no actions, and its running actions are ended.

use ephyr_api::TaskRevokeArguments;
use ephyr_testkit::{World, json};

use crate::commands::is_alive;
use crate::helpers::{eventually, exec, record, task};

#[test]
fn revocation_ends_the_running_command_and_the_token() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let (id, token) = task(&mut scout);
    let (_, other_token) = task(&mut scout);
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
    let unaffected = exec(
        &mut world.mcp_with_token(&other_token).unwrap(),
        "web",
        "read",
        "echo still here",
    );
    assert_eq!(
        unaffected.value["stdout"], "still here\n",
        "the other task still works"
    );
    let again = scout.invoke(&revoke).unwrap();
    assert!(again.revoked, "revoking again succeeds");
}

#[test]
fn dry_run_revocation_revokes_nothing() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let (id, token) = task(&mut scout);
    let preview = TaskRevokeArguments {
        task_id: id,
        dry_run: true,
    };
    let preview = scout.invoke(&preview).unwrap();
    assert_eq!((preview.revoked, preview.cascade_count), (false, 1));
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
