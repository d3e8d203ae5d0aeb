//! Commands: results, refusals, timeouts and broken connections.

use std::time::{Duration, Instant};

use ephyr_testkit::{World, json};

use crate::helpers::{details, eventually, exec, record};

#[test]
fn command_returns_output_exit_code_and_receipt() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let ran = exec(
        &mut scout,
        "web",
        "read",
        "echo out; echo err >&2; cat; exit 7",
    );
    assert!(!ran.is_error, "{}", ran.text);
    assert_eq!(ran.value["stdout"], "out\n");
    assert_eq!(ran.value["stderr"], "err\n");
    assert_eq!(ran.value["exit_code"], 7);
    assert_eq!(ran.value["truncated"], false);
    let attempt = ran.value["receipt"]["record"].as_str().unwrap();
    let outcome = record(&world, "the outcome", |r| {
        r["event"] == "exec_outcome" && r["attempt"] == attempt
    });
    assert_eq!(outcome["detail"]["exit"], "7");
    assert!(outcome["serial"].is_string());
}

#[test]
fn refusal_names_step_rule_and_alternatives() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let refused =
        |role: &str, target: &str| json!({"target": target, "role": role, "command": "id"});
    let role = details(&mut scout, "exec", refused("operator", "web"));
    assert_eq!(role["step"], 3);
    assert_eq!(role["reason"], "role_not_granted");
    assert_eq!(role["rule"], "agents.scout.ssh.web.roles");
    assert_eq!(role["alternatives"], json!(["web as read"]));
    let target = details(&mut scout, "exec", refused("read", "nowhere"));
    assert_eq!(
        (&target["step"], &target["reason"]),
        (&json!(3), &json!("role_not_granted")),
        "indistinguishable from a target without a grant"
    );
    let dry_run = scout
        .tool(
            "exec",
            json!({"target": "web", "role": "operator", "command": "id", "dry_run": true}),
        )
        .unwrap();
    assert!(
        !dry_run.is_error && dry_run.value["decision"]["allowed"] == false,
        "{}",
        dry_run.text
    );
    let dry_run = scout
        .tool(
            "exec",
            json!({"target": "web", "role": "read", "command": "id", "dry_run": true}),
        )
        .unwrap();
    assert_eq!(dry_run.value["decision"]["allowed"], true);
    assert!(dry_run.value.get("exit_code").is_none(), "nothing was run");
    for reason in ["role_not_granted", "target_unknown"] {
        record(&world, "the denial", |r| {
            r["event"] == "denied" && r["decision"]["reason"] == reason
        });
    }
}

#[test]
fn timed_out_command_is_ended_on_the_target() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let command = "echo $$; trap '' TERM; sleep 600 & wait; sleep 600";
    let begun = Instant::now();
    let ran = scout
        .tool(
            "exec",
            json!({"target": "web", "role": "read", "command": command, "timeout": 1}),
        )
        .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(ran.value["exit_code"], -1, "{}", ran.text);
    assert_eq!(ran.value["timed_out"], true);
    let pid: u32 = ran.value["stdout"]
        .as_str()
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    eventually("the end of the remote shell", || {
        (!is_alive(pid)).then_some(())
    });
}

/// Returns whether a process runs; target and test share the machine.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn output_is_bounded_without_ending_the_command() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let ran = exec(
        &mut scout,
        "web",
        "read",
        "head -c 5000000 /dev/zero | tr '\\0' x; exit 4",
    );
    assert_eq!(ran.value["exit_code"], 4);
    assert_eq!(ran.value["truncated"], true);
    assert_eq!(ran.value["stdout"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(ran.value["stdout_bytes"], 5_000_000);
}

#[test]
fn non_utf8_output_is_marked_lossy_or_returned_as_base64() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let mut run = |encoding: &str| {
        let command = "printf 'a\\377b'; echo err >&2";
        let arguments =
            json!({"target": "web", "role": "read", "command": command, "encoding": encoding});
        scout.tool("exec", arguments).unwrap()
    };
    let text = run("text").value;
    assert_eq!(text["stdout"], "a\u{fffd}b");
    assert_eq!(text["stdout_lossy"], true);
    assert!(text.get("stderr_lossy").is_none() && text.get("encoding").is_none());
    let base64 = run("base64").value;
    assert_eq!(
        (&base64["stdout"], &base64["stderr"]),
        (&json!("Yf9i"), &json!("ZXJyCg=="))
    );
    assert_eq!(base64["encoding"], "base64");
    assert!(base64.get("stdout_lossy").is_none());
    assert!(run("hex").is_error);
}

#[test]
fn sshd_logs_the_key_id_of_the_certificate() {
    let mut world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let ran = exec(&mut scout, "web", "read", "true");
    let attempt = ran.value["receipt"]["record"].clone();
    let outcome = record(&world, "the outcome", |r| {
        r["event"] == "exec_outcome" && r["attempt"] == attempt
    });
    let key_id = format!(
        "ephyr:scout@web/read:-:{}",
        outcome["serial"].as_str().unwrap()
    );
    let log = world.target("web").unwrap().log();
    assert!(log.contains(&key_id), "{key_id} is not in:\n{log}");
}

#[test]
fn receipt_verifies_offline_with_ca_key_and_log() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let ran = exec(&mut scout, "web", "read", "true");
    let text = ran.value["receipt"]["text"].as_str().unwrap();
    let check = |receipt: &str| {
        let mut command = world.own_command("bin/ephyr");
        command
            .args(["audit", "receipt", receipt, "--log"])
            .arg(world.audit_log());
        command.arg("--ca-pub").arg(world.ca_pub());
        command.output().unwrap()
    };
    let good = check(text);
    assert!(
        good.status.success(),
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    let mut forged = text.to_owned();
    let last = if forged.ends_with('A') { 'B' } else { 'A' };
    forged.replace_range(text.len() - 20..text.len() - 19, &last.to_string());
    assert!(!check(&forged).status.success());
}

#[test]
fn broken_connection_and_unreachable_target_are_told_apart() {
    let world = World::builder()
        .edit(|policy, _| {
            policy["agents"]["builder"]["ssh"] =
                json!({"web": {"roles": ["read"]}, "db": {"roles": ["read"]}});
            // A reserved port on which nothing listens.
            policy["targets"]["db"]["port"] = json!(1);
        })
        .start()
        .unwrap();
    let mut builder = world.mcp_by_uid("builder").unwrap();
    // The shell's parent is the sshd process of the connection.
    let breaks = "echo begun; sleep 1; kill -9 $PPID; sleep 20";
    for (target, command, reason, started, exit, message) in [
        ("web", breaks, "connection_lost", true, 74, "may have run"),
        (
            "db",
            "true",
            "target_unreachable",
            false,
            69,
            "nothing was run",
        ),
    ] {
        let arguments = json!({"target": target, "role": "read", "command": command});
        let refused = builder.tool("exec", arguments.clone()).unwrap();
        assert!(
            refused.is_error && refused.text.contains(message),
            "{}",
            refused.text
        );
        let error = details(&mut builder, "exec", arguments);
        assert_eq!(error["reason"], reason, "{error}");
        assert_eq!(error["started"], started, "{error}");
        if started {
            let until_then = "standard output until then:\nbegun\n";
            assert!(refused.text.contains(until_then), "{}", refused.text);
            assert_eq!(error["stdout"], "begun\n", "{error}");
            assert_eq!(error["truncated"], false);
        } else {
            assert!(error.get("stdout").is_none(), "{error}");
        }
        let outcome = record(&world, "the outcome", |r| {
            r["event"] == "exec_outcome" && r["detail"]["error"] == reason
        });
        assert_eq!(outcome["detail"]["started"], started.to_string());
        let mut cli = world.command("bin/ephyr", "builder").unwrap();
        cli.env("EPHYR_SOCKET", world.socket());
        let ran = cli
            .args(["exec", target, "-r", "read", "--", command])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(exit), "{text}");
        assert!(text.contains(message), "{text}");
    }
}
