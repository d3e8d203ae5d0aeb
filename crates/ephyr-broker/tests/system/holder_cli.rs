//! The command `ephyr` as a task's holder: it delegates, binds and proves.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Output, Stdio};

use ephyr_testkit::{Value, World, json};

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
    let made = scout
        .tool(
            "task_create",
            json!({"description": "root", "can_delegate": true}),
        )
        .unwrap();
    made.value["token"].as_str().unwrap().to_owned()
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
fn a_child_is_delegated_bound_and_used_from_the_command_line() {
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
fn the_stdio_bridge_binds_a_token_to_a_key_that_only_it_has() {
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
        "whoever stole the token has nothing"
    );
}
