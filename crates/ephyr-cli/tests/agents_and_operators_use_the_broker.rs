//! `ephyr` against a real signer, broker and `sshd`.

#[cfg(test)]
#[path = "exec/output.rs"]
mod exec_output;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use ephyr_testkit::{RunOutput, Value, World, json, run};

/// Runs `ephyr` on the appliance as an agent.
fn ephyr(world: &World, agent: &str, arguments: &[&str]) -> RunOutput {
    ephyr_with(world, agent, &[], arguments, "")
}

#[cfg(test)]
fn ephyr_with(
    world: &World,
    agent: &str,
    environment: &[(&str, &str)],
    arguments: &[&str],
    input: &str,
) -> RunOutput {
    let mut command = world.command("bin/ephyr", agent).expect("an account");
    command.env("EPHYR_SOCKET", world.socket()).args(arguments);
    command.envs(environment.iter().copied());
    run(command, input).expect("ephyr runs")
}

#[cfg(test)]
fn url(world: &World) -> String {
    match world.tcp().expect("a running broker") {
        ephyr_testkit::http::Endpoint::Tcp(address) => format!("http://{address}/mcp"),
        ephyr_testkit::http::Endpoint::Unix(..) => {
            unreachable!("`World::tcp` returns a TCP endpoint")
        }
    }
}

#[test]
fn exec_passes_on_output_and_exit_status() {
    let world = World::start().unwrap();
    let exec = |command: &[&str]| {
        let arguments = [&["exec", "web", "--role", "read", "--"], command].concat();
        ephyr(&world, "builder", &arguments)
    };
    let ran = exec(&["printf 'a\\tb'; echo oops >&2; exit 7"]);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (7, "a\tb", "oops\n")
    );
    let words = exec(&["echo", "two  spaces", "$HOME", "it's"]);
    assert_eq!(
        (words.code, words.out.as_str()),
        (0, "two  spaces $HOME it's\n")
    );
    let killed = exec(&["kill -TERM $$"]);
    assert_eq!(killed.code, 143, "{}", killed.err);
}

#[test]
fn command_that_times_out_is_status_124() {
    let world = World::start().unwrap();
    let ran = ephyr(
        &world,
        "builder",
        &[
            "exec",
            "web",
            "-r",
            "read",
            "--timeout",
            "1",
            "--",
            "sleep 60",
        ],
    );
    assert_eq!(ran.code, 124, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("ended after 1 s"), "{}", ran.err);
}

#[test]
fn refusal_is_status_77_with_alternatives() {
    let world = World::start().unwrap();
    let denied = ephyr(
        &world,
        "builder",
        &["exec", "web", "--role", "admin", "--", "id"],
    );
    assert_eq!(denied.code, 77, "{}", denied.err);
    assert!(denied.err.contains("denied at step 3"), "{}", denied.err);
    let asked = ephyr(
        &world,
        "builder",
        &["exec", "web", "--role", "admin", "--dry-run", "--", "id"],
    );
    assert_eq!(asked.code, 77);
    assert!(asked.out.contains("allowed would be: "), "{}", asked.out);
    let json = ephyr(
        &world,
        "builder",
        &["--json", "exec", "web", "--role", "admin", "--", "id"],
    );
    let error: Value = json.err.parse().unwrap();
    assert_eq!(
        (&error["exit"], &error["details"]["step"]),
        (&json!(77), &json!(3)),
        "{error}"
    );
    let allowed = ephyr(
        &world,
        "builder",
        &["exec", "web", "--role", "read", "--dry-run", "--", "id"],
    );
    assert_eq!((allowed.code, allowed.out.as_str()), (0, "allowed\n"));
}

#[test]
fn whoami_targets_certs_and_health_print_the_response() {
    let world = World::start().unwrap();
    let who = ephyr(&world, "builder", &["whoami"]);
    assert!(who.out.contains("agent: builder\n"), "{}", who.out);
    let targets = ephyr(&world, "builder", &["targets"]);
    assert!(targets.out.starts_with("TARGET"), "{}", targets.out);
    assert!(
        targets.out.contains("db") && targets.out.contains("operator,read"),
        "{}",
        targets.out
    );
    let json = ephyr(&world, "builder", &["targets", "--json"]);
    let value: Value = json.out.parse().unwrap();
    assert_eq!(value["targets"].as_array().unwrap().len(), 2);
    let certs = ephyr(&world, "builder", &["certs"]);
    assert_eq!(certs.out, "you have no valid certificate\n");
    let health = ephyr(&world, "builder", &["health"]);
    assert!(health.out.contains("status: ok\n"), "{}", health.out);
}

#[test]
fn task_is_created_used_and_revoked() {
    let world = World::start().unwrap();
    let url = url(&world);
    let scout = |token: Option<&str>, arguments: &[&str]| {
        let mut environment = vec![("EPHYR_MCP_URL", url.as_str())];
        environment.push(("EPHYR_API_KEY", world.api_key("scout").unwrap()));
        environment.extend(token.map(|token| ("EPHYR_TOKEN", token)));
        ephyr_with(&world, "scout", &environment, arguments, "")
    };
    let made = scout(
        None,
        &["task", "create", "--description", "tidy up", "--token-only"],
    );
    assert_eq!(made.code, 0, "{}", made.err);
    let token = made.out.trim();
    assert!(token.starts_with("mac_"));
    let info = scout(Some(token), &["task", "info", "--json"]);
    let value: Value = info.out.parse().unwrap();
    let id = value["task"]["id"].as_str().unwrap();
    let inspected = ephyr_with(&world, "scout", &[], &["inspect", "-"], token);
    assert!(
        inspected.out.contains("not verified") && inspected.out.contains(id),
        "{}",
        inspected.out
    );
    let list = scout(None, &["task", "list"]);
    assert!(
        list.out.contains(id) && list.out.contains("tidy up"),
        "{}",
        list.out
    );
    let ran = scout(
        Some(token),
        &["exec", "web", "--role", "read", "--", "echo hi"],
    );
    assert_eq!((ran.code, ran.out.as_str()), (0, "hi\n"), "{}", ran.err);
    let revoked = scout(None, &["task", "revoke", id]);
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    let dead = scout(
        Some(token),
        &["exec", "web", "--role", "read", "--", "echo hi"],
    );
    assert_eq!(dead.code, 77, "{}", dead.err);
    assert!(dead.err.contains("revoked"), "{}", dead.err);
}

#[test]
fn invalid_input_is_not_reported_as_an_unavailable_broker() {
    let world = World::start().unwrap();
    let builder = |arguments: &[&str]| ephyr(&world, "builder", arguments);
    let missing = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for (arguments, code, reason) in [
        (
            &["exec", "web", "--role", "read", "--", ""][..],
            65,
            "bad_arguments",
        ),
        (
            &["task", "create", "--description", ""],
            65,
            "bad_arguments",
        ),
        (&["task", "info"], 65, "bad_arguments"),
        (
            &["task", "create", "--description", "x", "--ttl", "2h"],
            65,
            "ttl_out_of_range",
        ),
        (&["task", "info", missing], 65, "task_not_found"),
        (&["task", "revoke", missing], 65, "task_not_found"),
        (
            &["task", "delegate", "--description", "x"],
            77,
            "token_required",
        ),
    ] {
        let ran = builder(&[&["--json"], arguments].concat());
        let error: Value = ran.err.parse().unwrap();
        assert_eq!(
            (ran.code, &error["code"]),
            (code, &json!(reason)),
            "{arguments:?} {error}"
        );
    }
    let task = ["task", "create", "--description", "x", "--token-only"];
    let token = builder(&task);
    let again = ephyr_with(
        &world,
        "builder",
        &[("EPHYR_TOKEN", token.out.trim())],
        &task,
        "",
    );
    assert_eq!(again.code, 77, "{}", again.err);
}

#[test]
fn query_without_matches_prints_a_note() {
    let world = World::start().unwrap();
    let query = |agent: &str, json: &[&str]| {
        let log = world.audit_log();
        let mut command = world.own_command("bin/ephyr");
        command
            .args(["audit", "query", "--agent", agent, "--log"])
            .arg(log)
            .args(json);
        run(command, "").unwrap()
    };
    assert_eq!(
        ephyr(
            &world,
            "builder",
            &["exec", "web", "-r", "read", "--", "true"]
        )
        .code,
        0
    );
    let (some, none) = (query("builder", &[]), query("scout", &[]));
    assert_eq!(
        (some.code, some.err.as_str(), some.out.is_empty()),
        (0, "", false)
    );
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert!(none.err.contains("no record"), "{}", none.err);
    assert_eq!(query("scout", &["--json"]).err, "");
}

#[test]
fn task_bound_to_a_key_is_refused_without_it() {
    let world = World::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let key = |name: &str| {
        let file = dir.path().join(name);
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&file)
            .status();
        assert!(made.unwrap().success());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (own, other) = (key("own"), key("other"));
    let create = ["task", "create", "--description", "x", "--token-only"];
    let made = ephyr(
        &world,
        "builder",
        &[&["--holder-key", &own], &create[..]].concat(),
    );
    assert_eq!(made.code, 0, "{}", made.err);
    let exec = |options: &[&str]| {
        let command = ["exec", "web", "--role", "read", "--", "id -un"];
        let environment = [("EPHYR_TOKEN", made.out.trim())];
        let words = [options, &command[..]].concat();
        ephyr_with(&world, "builder", &environment, &words, "")
    };
    assert_eq!(exec(&["--holder-key", &own]).code, 0);
    assert_eq!(exec(&["--holder-key", &other]).code, 77);
    assert_eq!(exec(&[]).code, 77);
}

#[test]
fn credential_is_read_from_a_file() {
    let world = World::start().unwrap();
    let url = url(&world);
    let file = world.dir().join("scouts-key");
    std::fs::write(&file, world.api_key("scout").unwrap().to_owned() + "\n").unwrap();
    let file = file.to_str().unwrap();
    let ran = ephyr(
        &world,
        "scout",
        &["whoami", "--url", &url, "--credential-file", file],
    );
    assert!(ran.out.contains("agent: scout\n"), "{}{}", ran.out, ran.err);
    let without = ephyr(&world, "scout", &["whoami", "--url", &url]);
    assert_eq!(without.code, 77, "{}", without.err);
}

#[test]
fn user_outside_the_group_is_advised_to_join_it() {
    let world = World::start().unwrap();
    if !world.accounts().are_separate() {
        return ephyr_testkit::skip("a second user needs root");
    }
    let stranger = ephyr(&world, "stranger", &["targets"]);
    assert_eq!(stranger.code, 77, "{}", stranger.err);
    assert!(
        stranger.err.contains("no agent of the policy"),
        "{}",
        stranger.err
    );
    let outsider = ephyr(&world, "ephyr-signer", &["targets"]);
    assert_eq!(outsider.code, 69, "{}", outsider.err);
    assert!(outsider.err.contains("group"), "{}", outsider.err);
}

#[test]
fn receipt_and_log_are_verified_and_a_changed_byte_is_found() {
    let world = World::start().unwrap();
    let json = ephyr(
        &world,
        "builder",
        &["--json", "exec", "web", "--role", "read", "--", "true"],
    );
    let value: Value = json.out.parse().unwrap();
    let receipt = value["receipt"]["text"].as_str().unwrap();
    let log = world.audit_log();
    let (log, ca) = (log.to_str().unwrap(), world.ca_pub());
    let ca = ca.to_str().unwrap();
    let operator = |arguments: &[&str], input: &str| {
        let mut command = world.own_command("bin/ephyr");
        command.args(arguments);
        run(command, input).unwrap()
    };
    let checked = operator(
        &["audit", "receipt", "-", "--log", log, "--ca-pub", ca],
        receipt,
    );
    assert_eq!(checked.code, 0, "{}", checked.err);
    assert!(checked.out.contains("exec_attempt"), "{}", checked.out);
    let verified = operator(&["audit", "verify", "--log", log, "--ca-pub", ca], "");
    assert_eq!(verified.code, 0, "{}", verified.err);
    let found = operator(
        &[
            "audit",
            "query",
            "--log",
            log,
            "--agent",
            "builder",
            "--event",
            "exec_attempt",
        ],
        "",
    );
    assert_eq!(found.out.lines().count(), 1, "{}", found.out);
    // Both commands detect one changed byte.
    let text = std::fs::read_to_string(log).unwrap();
    let copy = world.dir().join("audit.copy");
    std::fs::write(
        &copy,
        text.replace("\"command\":\"true\"", "\"command\":\"tr0e\""),
    )
    .unwrap();
    let copy = copy.to_str().unwrap();
    let verified = operator(&["audit", "verify", "--log", copy, "--ca-pub", ca], "");
    assert_eq!(verified.code, 65, "{}", verified.out);
    assert!(verified.err.contains(copy), "{}", verified.err);
    let checked = operator(
        &["audit", "receipt", "-", "--log", copy, "--ca-pub", ca],
        receipt,
    );
    assert_ne!(checked.code, 0, "{}", checked.out);
}

#[test]
fn stdio_bridge_forwards_mcp_without_a_credential() {
    let world = World::start().unwrap();
    let call = |id: u32, name: &str| {
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
        "name": name, "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": ephyr_testkit::VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
        }}})
        .to_string()
    };
    let input = call(1, "list_targets") + "\n";
    let ran = ephyr_with(&world, "builder", &[], &["mcp"], &input);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let answer: Value = ran.out.trim().parse().unwrap();
    assert_eq!(answer["id"], 1);
    let targets = &answer["result"]["structuredContent"]["targets"];
    assert_eq!(targets.as_array().unwrap().len(), 2, "{answer}");
}

/// Waits until the audit log has a record of this event for this command.
#[cfg(test)]
fn wait_for_record(world: &World, event: &str, command: &str) {
    let start = std::time::Instant::now();
    loop {
        let log = std::fs::read_to_string(world.audit_log()).unwrap();
        let matches = |line: &str| {
            let record: Value = line.parse().unwrap_or_default();
            record["event"] == event && record["action"]["command"] == command
        };
        if log.lines().any(matches) {
            return;
        }
        assert!(start.elapsed().as_secs() < 60, "no {event} of {command}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn commands_of_a_bridge_client_end_when_the_client_is_gone() {
    let world = World::start().unwrap();
    for (how, seconds) in [("dies", 301), ("sends SIGTERM", 302)] {
        let mut command = world.command("bin/ephyr", "builder").unwrap();
        command.env("EPHYR_SOCKET", world.socket()).arg("mcp");
        let piped = std::process::Stdio::piped;
        let mut bridge = command.stdin(piped()).stdout(piped()).spawn().unwrap();
        let mut input = bridge.stdin.take().unwrap();
        let output = bridge.stdout.take().unwrap();
        // In this protocol version a broken connection does not cancel a call.
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }});
        let sleep = format!("sleep {seconds}");
        let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "exec",
            "arguments": {"target": "web", "role": "read", "command": sleep, "timeout": 300},
        }});
        writeln!(input, "{hello}\n{call}").unwrap();
        wait_for_record(&world, "exec_attempt", &sleep);
        let kept = if how == "dies" {
            drop((input, output));
            None
        } else {
            let pid = rustix::process::Pid::from_child(&bridge);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            Some((input, output))
        };
        assert!(bridge.wait().unwrap().success(), "{how}");
        wait_for_record(&world, "exec_outcome", &sleep);
        drop(kept);
    }
}

#[test]
fn port_of_another_server_is_reported_as_not_the_broker() {
    let mut world = World::start().unwrap();
    let ssh = format!("http://127.0.0.1:{}", world.target("web").unwrap().port);
    for arguments in [
        &["targets"][..],
        &["task", "list"],
        &["exec", "web", "-r", "read", "--", "id"],
    ] {
        let ran = ephyr(&world, "builder", &[&["--url", &ssh], arguments].concat());
        assert_eq!(ran.code, 76, "{arguments:?} {}", ran.err);
        assert!(ran.err.contains("is not the broker"), "{}", ran.err);
        assert!(!ran.err.contains("may have taken effect"), "{}", ran.err);
    }
}

#[test]
fn broken_connection_reports_a_possible_effect() {
    let world = World::start().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // A server that accepts a request and closes the connection.
    let server = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap();
            assert!(read > 0);
        }
    });
    for (arguments, code, may) in [
        (&["targets"][..], 69, false),
        (&["task", "list"], 69, false),
        (&["exec", "web", "-r", "read", "--", "id"], 74, true),
    ] {
        let ran = ephyr(&world, "builder", &[&["--url", &url], arguments].concat());
        assert_eq!(ran.code, code, "{arguments:?} {}", ran.err);
        let claims = ran.err.contains("may have taken effect");
        assert_eq!(claims, may, "{}", ran.err);
    }
    server.join().unwrap();
}

#[test]
fn line_break_is_trimmed_from_a_credential_but_refused_inside() {
    let world = World::start().unwrap();
    let (url, key) = (url(&world), world.api_key("scout").unwrap());
    let whoami = |key: &str| {
        let environment = [("EPHYR_MCP_URL", url.as_str()), ("EPHYR_API_KEY", key)];
        ephyr_with(&world, "scout", &environment, &["whoami"], "")
    };
    for end in ["\n", "\r\n", " \n"] {
        let ran = whoami(&format!("{key}{end}"));
        assert!(ran.out.contains("agent: scout\n"), "{}{}", ran.out, ran.err);
    }
    let ran = whoami(&format!("{key}\n{key}"));
    assert_eq!(ran.code, 65, "{}", ran.err);
    assert!(ran.err.contains("a line break inside"), "{}", ran.err);
    assert!(!ran.err.contains(key), "{}", ran.err);
}

#[test]
fn host_keys_are_printed_in_the_form_of_the_policy() {
    let mut world = World::builder().prepare().unwrap();
    let sshd = world.target("web").unwrap();
    let host = format!("127.0.0.1:{}", sshd.port);
    let pinned = sshd
        .host_key
        .rsplit_once(' ')
        .unwrap()
        .0
        .trim_end_matches(" host")
        .to_owned();
    let mut command = world.own_command("bin/ephyr");
    command.args(["host-key", &host]);
    let ran = run(command, "").unwrap();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.starts_with("host_key:\n  - ssh-ed25519 AAAA"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains(&pinned), "{}\n{pinned}", ran.out);
    assert!(ran.err.contains("SHA256:"), "{}", ran.err);
}
