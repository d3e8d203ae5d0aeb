//! Over TCP an agent authenticates with an API key or a task token.

use ephyr_testkit::{Mcp, World, json};

const COMMAND: &str = "echo done";

#[test]
fn api_key_authorizes_exec() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let ran = scout
        .tool(
            "exec",
            json!({"target": "web", "role": "read", "command": COMMAND}),
        )
        .unwrap();
    assert_eq!(ran.value["stdout"], "done\n", "{}", ran.text);
}

#[test]
fn task_token_works_until_the_task_is_revoked() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let made = scout
        .tool("task_create", json!({"description": "one thing"}))
        .unwrap()
        .value;
    let mut task = world
        .mcp_with_token(made["token"].as_str().unwrap())
        .unwrap();
    let arguments = json!({"target": "web", "role": "read", "command": COMMAND});
    let ran = task.tool("exec", arguments.clone()).unwrap();
    assert_eq!(ran.value["stdout"], "done\n", "{}", ran.text);
    let info = task.tool("task_info", json!({})).unwrap().value;
    assert_eq!(info["task"]["id"], made["task_id"]);
    let gone = scout
        .tool("task_revoke", json!({"task_id": made["task_id"]}))
        .unwrap()
        .value;
    assert_eq!(gone["revoked"], true);
    let refused = task.tool("exec", arguments).unwrap_err().to_string();
    assert!(refused.contains("revoked"), "{refused}");
}

#[test]
fn wrong_credentials_are_401_and_never_echoed() {
    let world = World::start().unwrap();
    let key = world.api_key("scout").unwrap();
    let other = key.replace("scout", "worker");
    let cut = &key[..key.len() - 1];
    let unknown = key.replace("scout", "nobody");
    for bearer in [other.as_str(), cut, &unknown, "mac_AgAA", "hunter2", ""] {
        let headers = [("content-type", "application/json")];
        let mut client = Mcp::new(world.tcp().unwrap(), Some(bearer));
        let response = client.post(&headers, b"{}").unwrap();
        assert_eq!(response.status, 401, "{bearer}: {}", response.text());
        assert!(response.header("www-authenticate").is_some());
        if bearer.len() > 8 {
            assert!(!response.text().contains(bearer), "{}", response.text());
        }
    }
    let none = Mcp::new(world.tcp().unwrap(), None)
        .post(&[("content-type", "application/json")], b"{}")
        .unwrap();
    assert_eq!(none.status, 401);
    assert!(
        none.text().contains("Authorization: Bearer"),
        "{}",
        none.text()
    );
}

#[test]
fn agent_sees_and_uses_only_its_grants() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let targets = scout.tool("list_targets", json!({})).unwrap().value;
    assert_eq!(targets["targets"].as_array().unwrap().len(), 1);
    assert_eq!(targets["targets"][0]["name"], "web");
    for (target, role) in [
        ("web", "operator"),
        ("db", "read"),
        ("nowhere", "read"),
        ("web", "admin"),
    ] {
        let arguments = json!({"target": target, "role": role, "command": COMMAND});
        let refused = scout.tool("exec", arguments).unwrap();
        assert!(refused.is_error, "{target}/{role}: {}", refused.value);
        assert!(refused.details["step"].is_u64(), "{}", refused.details);
    }
    let granted = scout
        .tool(
            "exec",
            json!({"target": "web", "role": "read", "command": COMMAND}),
        )
        .unwrap();
    assert!(!granted.is_error, "{}", granted.text);
}
