//! Tests with the official MCP SDKs for Python and TypeScript, 1.x and 2.x: each client connects, lists
//! tools and resources, runs a command and reads a resource. `tests/sdk/setup.sh DIR` installs the
//! SDKs; `EPHYR_SDK_DIR` names that directory.

use std::path::PathBuf;
use std::process::Command;

use ephyr_testkit::http::Endpoint;
use ephyr_testkit::{Result, Value, World, json, run, skip};

/// A client program that uses an SDK.
struct Client {
    program: PathBuf,
    script: PathBuf,
    mode: Option<&'static str>,
}

/// Returns the client of an SDK; `None`, after [`skip`], if the SDKs are not installed.
fn sdk(language: &str, era: u8, mode: Option<&'static str>) -> Option<Client> {
    let Some(dir) = std::env::var_os("EPHYR_SDK_DIR").map(PathBuf::from) else {
        skip(
            "EPHYR_SDK_DIR is not set; `cargo xtask test --only sdk` installs the SDKs and sets it",
        );
        return None;
    };
    let (program, script) = match language {
        "python" => {
            let scripts = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk"));
            (
                dir.join(format!("py{era}/bin/python")),
                scripts.join(format!("client_{era}.py")),
            )
        }
        _ => ("node".into(), dir.join(format!("node/client_{era}.mjs"))),
    };
    Some(Client {
        program,
        script,
        mode,
    })
}

impl Client {
    /// Runs the client over this transport and returns its summary.
    fn run(&self, transport: &[String]) -> Result<Value> {
        let call = json!({"target": "web", "role": "read", "command": "echo over MCP"}).to_string();
        let mut command = Command::new(&self.program);
        command.arg(&self.script);
        if let Some(mode) = self.mode {
            command.args(["--mode", mode]);
        }
        command
            .args(["--call", "exec", &call, "--read", "ephyr://targets"])
            .args(transport);
        let ran = run(command, "")?;
        ran.out.parse().map_err(|_| {
            ephyr_testkit::Error::new(format!("status {}: {}{}", ran.code, ran.out, ran.err))
        })
    }
}

fn over_http(world: &World, credential: &str) -> Vec<String> {
    let Ok(Endpoint::Tcp(address)) = world.tcp() else {
        unreachable!("`World::tcp` returns a TCP endpoint")
    };
    vec![
        "--header".into(),
        format!("Authorization: Bearer {credential}"),
        "--url".into(),
        format!("http://{address}/mcp"),
    ]
}

/// The stdio bridge, run as the local agent.
fn over_stdio(world: &World) -> Result<Vec<String>> {
    let mut bridge = world.command("bin/ephyr", "builder")?;
    bridge.arg("mcp").arg("--socket").arg(world.socket());
    let words = std::iter::once(bridge.get_program()).chain(bridge.get_args());
    let words = words.map(|word| word.to_string_lossy().into_owned());
    Ok(std::iter::once("--command".to_owned())
        .chain(words)
        .collect())
}

fn check(summary: &Value, version: Option<&str>, targets: &[&str]) {
    let list = |name: &str| summary[name].as_array().cloned().unwrap_or_default();
    for tool in [
        "list_targets",
        "exec",
        "list_certs",
        "task_create",
        "task_info",
        "task_list",
        "task_revoke",
    ] {
        assert!(list("tools").contains(&json!(tool)), "{tool}: {summary}");
    }
    assert!(
        list("resources").contains(&json!("ephyr://overview")),
        "{summary}"
    );
    if let Some(version) = version {
        assert_eq!(summary["protocol_version"], version, "{summary}");
    }
    assert_eq!(summary["call"]["is_error"], false, "{summary}");
    assert_eq!(
        summary["call"]["structured"]["stdout"], "over MCP\n",
        "{summary}"
    );
    let read = summary["read"]["text"].as_str().unwrap_or_default();
    for target in targets {
        assert!(read.contains(target), "{summary}");
    }
}

/// Runs the client with an API key, with a task token and over the bridge.
#[cfg(test)]
fn run_all(client: Option<Client>, version: Option<&str>) {
    let Some(client) = client else { return };
    let world = World::start().unwrap();
    let key = world.api_key("scout").unwrap();
    check(
        &client.run(&over_http(&world, key)).unwrap(),
        version,
        &["web"],
    );
    let mut scout = world.mcp_with_key("scout").unwrap();
    let made = scout
        .tool("task_create", json!({"description": "an SDK test"}))
        .unwrap()
        .value;
    let token = made["token"].as_str().unwrap();
    check(
        &client.run(&over_http(&world, token)).unwrap(),
        version,
        &["web"],
    );
    check(
        &client.run(&over_stdio(&world).unwrap()).unwrap(),
        version,
        &["web", "db"],
    );
}

#[test]
fn python_sdk_1_works_with_key_token_and_bridge() {
    run_all(sdk("python", 1, None), Some("2025-11-25"));
}

#[test]
fn python_sdk_2_works_with_key_token_and_bridge() {
    run_all(sdk("python", 2, None), Some("2026-07-28"));
}

#[test]
fn python_sdk_2_works_with_the_legacy_handshake() {
    run_all(sdk("python", 2, Some("legacy")), None);
}

#[test]
fn typescript_sdk_1_works_with_key_token_and_bridge() {
    run_all(sdk("typescript", 1, None), Some("2025-11-25"));
}

#[test]
fn typescript_sdk_2_works_with_key_token_and_bridge() {
    run_all(sdk("typescript", 2, None), None);
}
