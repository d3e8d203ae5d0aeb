//! The command `ephyr` as the holder of a task: delegation, binding and proofs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Output, Stdio};

use ephyr_api::{TaskCreateArguments, TaskInfo};
use ephyr_testkit::{Value, World, json};

use crate::helpers::eventually;

fn url(world: &World) -> String {
    match world.tcp().unwrap() {
        ephyr_testkit::http::Endpoint::Tcp(address) => format!("http://{address}"),
        ephyr_testkit::http::Endpoint::Unix(..) => panic!("no TCP endpoint"),
    }
}

fn ephyr(world: &World, token: &str, arguments: &[&str]) -> Output {
    let mut command = world.own_command("bin/ephyr");
    command
        .env("EPHYR_MCP_URL", url(world))
        .env("EPHYR_TOKEN", token)
        .args(arguments);
    command.output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}

fn delegating_token(world: &World) -> String {
    let mut scout = world.mcp_with_key("scout").unwrap();
    let root = TaskCreateArguments {
        can_delegate: true,
        ..TaskCreateArguments::new("root")
    };
    scout.invoke(&root).unwrap().token.as_str().to_owned()
}

const CHILD: [&str; 8] = [
    "task",
    "delegate",
    "--description",
    "child",
    "--must-bind",
    "--keep",
    "web:read",
    "--token-only",
];

#[test]
fn cli_delegates_binds_and_uses_a_child() {
    let world = World::start().unwrap();
    let root = delegating_token(&world);
    let child = printed(&ephyr(&world, &root, &CHILD));
    let tree = printed(&ephyr(&world, &root, &["task", "tree"]));
    assert!(tree.lines().count() == 2 && tree.contains("└─ "), "{tree}");

    let locked = ephyr(&world, &child, &["targets"]);
    assert!(String::from_utf8_lossy(&locked.stderr).contains("423 Locked"));
    let dir = tempfile::tempdir().unwrap();
    let (mine, other) = (dir.path().join("mine"), dir.path().join("other"));
    for key in [&mine, &other] {
        let mut keygen = std::process::Command::new("ssh-keygen");
        assert!(
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(key)
                .status()
                .unwrap()
                .success()
        );
    }
    let mine = mine.to_str().unwrap();
    let bound = printed(&ephyr(
        &world,
        &child,
        &["--holder-key", mine, "task", "bind", "--token-only"],
    ));
    let ran = ephyr(
        &world,
        &bound,
        &[
            "--holder-key",
            mine,
            "exec",
            "web",
            "--role",
            "read",
            "--",
            "echo mine",
        ],
    );
    assert_eq!(printed(&ran), "mine");
    assert!(
        !ephyr(&world, &bound, &["targets"]).status.success(),
        "without the key"
    );
    let other = ephyr(
        &world,
        &bound,
        &["--holder-key", other.to_str().unwrap(), "targets"],
    );
    assert!(!other.status.success(), "with another key");
}

#[test]
fn stdio_bridge_binds_the_token_to_its_own_key() {
    let world = World::start().unwrap();
    let root = delegating_token(&world);
    let child = printed(&ephyr(&world, &root, &CHILD));
    let mut command = world.own_command("bin/ephyr");
    command
        .env("EPHYR_MCP_URL", url(&world))
        .env("EPHYR_TOKEN", &child)
        .args(["mcp", "--bind"]);
    let mut bridge = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": ephyr_testkit::VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let arguments = json!({"target": "web", "role": "read", "command": "echo through the bridge"});
    let params = json!({"name": "exec", "arguments": arguments, "_meta": meta});
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let mut input = bridge.stdin.take().unwrap();
    writeln!(input, "{call}").unwrap();
    let mut line = String::new();
    BufReader::new(bridge.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    drop(input);
    assert!(bridge.wait().unwrap().success());
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        answer["result"]["structuredContent"]["stdout"], "through the bridge\n",
        "{line}"
    );
    let dead = ephyr(&world, &child, &["targets"]);
    assert!(
        !dead.status.success(),
        "a stolen copy of the token is useless"
    );
}

#[test]
fn dry_runs_preview_delegation_and_revocation() {
    let world = World::start().unwrap();
    let root = delegating_token(&world);
    let preview = |keep: &str| {
        let arguments = [
            "task",
            "delegate",
            "--description",
            "x",
            "--keep",
            keep,
            "--dry-run",
        ];
        ephyr(&world, &root, &arguments)
    };
    let shown = printed(&preview("web:read"));
    assert!(
        shown.contains("the task would be created with a lifetime of"),
        "{shown}"
    );
    assert!(shown.contains("web: read"), "{shown}");
    let child = printed(&ephyr(&world, &root, &CHILD));
    let narrow = |arguments: &[&str]| ephyr(&world, &child, arguments);
    assert!(
        !narrow(&["task", "list"]).status.success(),
        "the child must be bound first"
    );
    let info = printed(&ephyr(&world, &root, &["task", "info", "--json"]));
    let id = id_of(&info);
    let preview = printed(&ephyr(&world, &root, &["task", "revoke", &id, "--dry-run"]));
    assert!(
        preview.contains("2 tasks would be revoked") && preview.contains(&id),
        "{preview}"
    );
    let tree = printed(&ephyr(&world, &root, &["task", "tree"]));
    assert_eq!(
        (tree.lines().count(), tree.contains("revoked")),
        (2, false),
        "{tree}"
    );
    printed(&ephyr(&world, &root, &["task", "revoke", &id]));
    assert!(!ephyr(&world, &root, &["task", "list"]).status.success());
}

fn id_of(info: &str) -> String {
    let info: TaskInfo<'_> = serde_json::from_str(info).unwrap();
    info.task.summary.id.to_string()
}

#[test]
fn audit_query_shows_a_tree_in_time_order_with_depth() {
    let world = World::start().unwrap();
    let root = delegating_token(&world);
    let id = id_of(&printed(&ephyr(&world, &root, &["task", "info", "--json"])));
    let make = |token: &str| {
        let arguments = [
            "task",
            "delegate",
            "--description",
            "x",
            "--can-delegate",
            "--token-only",
        ];
        printed(&ephyr(&world, token, &arguments))
    };
    let child = make(&root);
    let grandchild = make(&child);
    let other = delegating_token(&world);
    printed(&ephyr(
        &world,
        &grandchild,
        &["exec", "web", "--role", "read", "--", "true"],
    ));
    let query = |more: &[&str]| {
        let log = world.audit_log();
        let mut arguments = vec![
            "audit",
            "query",
            "--log",
            log.to_str().unwrap(),
            "--task",
            &id,
        ];
        arguments.extend(more);
        printed(&ephyr(&world, &other, &arguments))
    };
    let text = eventually("the outcome", || {
        let text = query(&[]);
        text.contains("exec_outcome").then_some(text)
    });
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("task_create_attempt"),
        "the root is first: {text}"
    );
    let depth = |line: &str| line.find("└─ ").map_or(0, |at| 1 + at / 3);
    for (event, expected) in [("task_created", vec![0, 1, 2]), ("exec_attempt", vec![2])] {
        let of_kind = lines.iter().filter(|line| line.contains(event));
        let depths: Vec<usize> = of_kind.map(|line| depth(line)).collect();
        assert_eq!(depths, expected, "{event}: {text}");
    }
    let times: Vec<String> = query(&["--json"])
        .lines()
        .map(|line| line.parse::<Value>().unwrap())
        .inspect(|record| assert_eq!(record["lineage"][0], json!(id), "only records of this tree"))
        .map(|record| record["time"].as_str().unwrap().to_owned())
        .collect();
    assert!(times.len() == lines.len() && times.is_sorted(), "{times:?}");
}
