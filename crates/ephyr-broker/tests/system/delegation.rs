//! Child tasks, and tokens bound to a key of their holder.

use ed25519_dalek::SigningKey;
use ephyr_api::{
    CreatedTask, TaskCreateArguments, TaskInfoArguments, TaskListArguments, TaskRevokeArguments,
};
use ephyr_names::Digest;
use ephyr_testkit::http::Response;
use ephyr_testkit::{Mcp, Value, World, json};
use ephyr_token::{Nonce, Proof, ProofRequest, Token};
use sha2::{Digest as _, Sha256};

use crate::helpers::{details, eventually, exec, record, task};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> String {
    ephyr_token::HolderKey::from_bytes(key.verifying_key().to_bytes())
        .unwrap()
        .to_string()
}

/// Sends `body` with a proof by `key` over `covered`.
fn send(
    agent: &mut Mcp,
    tool: &str,
    token: &str,
    key: &SigningKey,
    covered: &[u8],
    body: &[u8],
) -> Response {
    let nonce = Nonce(ephyr_core::ids::random());
    prove(agent, tool, token, key, nonce, covered, body)
}

fn prove(
    agent: &mut Mcp,
    tool: &str,
    token: &str,
    key: &SigningKey,
    nonce: Nonce,
    covered: &[u8],
    body: &[u8],
) -> Response {
    let request = ProofRequest {
        method: "POST",
        path: "/mcp",
        body: Digest(Sha256::digest(covered).into()),
        token: Token::from_text(token).unwrap().digest(),
    };
    let proof = Proof::sign(key, &request, nonce, ephyr_broker::clock::now()).to_string();
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", ephyr_testkit::VERSION),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
        ("ephyr-proof", proof.as_str()),
    ];
    agent.post(&headers, body).unwrap()
}

fn body(tool: &str, arguments: &Value) -> Vec<u8> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": ephyr_testkit::VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        .to_string()
        .into_bytes()
}

/// Calls a tool with a valid proof; returns its result.
fn call(agent: &mut Mcp, tool: &str, token: &str, key: &SigningKey, arguments: &Value) -> Value {
    let body = body(tool, arguments);
    let response = send(agent, tool, token, key, &body, &body);
    assert_eq!(response.status, 200, "{}", response.text());
    response.json().unwrap()["result"].clone()
}

fn parent(world: &World) -> (String, String) {
    let mut scout = world.mcp_with_key("scout").unwrap();
    let root = TaskCreateArguments {
        can_delegate: true,
        ..TaskCreateArguments::new("root")
    };
    let created = scout.invoke(&root).unwrap();
    (
        created.task_id.to_string(),
        created.token.as_str().to_owned(),
    )
}

fn delegate(world: &World, token: &str, arguments: Value) -> CreatedTask<'static> {
    let created = world
        .mcp_with_token(token)
        .unwrap()
        .tool("task_delegate", arguments)
        .unwrap();
    assert!(!created.is_error, "{}", created.text);
    serde_json::from_value(created.value).unwrap()
}

#[test]
fn child_is_limited_by_and_revoked_with_its_parent() {
    let world = World::builder()
        .edit(|policy, _| {
            policy["agents"]["scout"]["ssh"]["web"]["roles"] = json!(["read", "operator"]);
        })
        .start()
        .unwrap();
    let (root, token) = parent(&world);
    let child = delegate(
        &world,
        &token,
        json!({"description": "child", "envelope": {"ssh": {"web": ["read"]}}}),
    );
    let mut acting = world.mcp_with_token(child.token.as_str()).unwrap();
    assert!(!exec(&mut acting, "web", "read", "true").is_error);
    let refused = details(
        &mut acting,
        "exec",
        json!({"target": "web", "role": "operator", "command": "true"}),
    );
    assert_eq!(
        (&refused["step"], &refused["reason"]),
        (&json!(3), &json!("outside_envelope"))
    );
    let more = acting
        .tool("task_delegate", json!({"description": "x"}))
        .unwrap();
    assert!(
        more.is_error && more.text.contains("may not delegate"),
        "{}",
        more.text
    );

    let attempt = record(&world, "the child's command", |r| {
        r["event"] == "exec_attempt"
    });
    assert_eq!(attempt["lineage"], json!([root, child.task_id]));
    let mut above = world.mcp_with_token(&token).unwrap();
    let listed = above.invoke(&TaskListArguments {}).unwrap();
    assert_eq!(listed.count, 2, "the parent sees its child");
    let listed = acting.invoke(&TaskListArguments {}).unwrap();
    assert_eq!(listed.count, 1, "the child does not see its parent");
    let revoke = TaskRevokeArguments {
        task_id: root,
        dry_run: false,
    };
    assert_eq!(above.invoke(&revoke).unwrap().cascade_count, 2);
    assert_eq!(acting.call("list_targets", json!({})).unwrap().status, 401);
}

#[test]
fn w13_w15_delegation_needs_and_preserves_the_parents_token() {
    let world = World::start().unwrap();
    let (root, token) = parent(&world);
    let mut scout = world.mcp_with_key("scout").unwrap();
    let refused = details(
        &mut scout,
        "task_delegate",
        json!({"parent_task_id": root, "description": "x"}),
    );
    assert_eq!(refused["reason"], "token_required");
    let (other, _) = task(&mut scout);
    let mut acting = world.mcp_with_token(&token).unwrap();
    let refused = details(
        &mut acting,
        "task_delegate",
        json!({"parent_task_id": other, "description": "x"}),
    );
    assert_eq!(refused["reason"], "not_your_task");
    delegate(
        &world,
        &token,
        json!({"parent_task_id": root, "description": "child"}),
    );
    assert_eq!(
        acting.call("list_targets", json!({})).unwrap().status,
        200,
        "the parent's token still works"
    );
    let refused = details(
        &mut acting,
        "task_delegate",
        json!({"description": "x", "ttl": "1h1s"}),
    );
    assert_eq!(refused["reason"], "ttl_out_of_range");
}

#[test]
fn cross_agent_child_needs_acceptance_and_both_grants() {
    let world = World::builder()
        .edit(|policy, _| {
            policy["agents"]["worker"]["ssh"] =
                json!({"web": {"roles": ["read"]}, "db": {"roles": ["read"]}});
            policy["agents"]["worker"]["accept_delegation_from"] = json!(["scout"]);
            policy["agents"]["worker"]
                .as_object_mut()
                .unwrap()
                .remove("uid");
        })
        .start()
        .unwrap();
    let (_, token) = parent(&world);
    let mut scout = world.mcp_with_token(&token).unwrap();
    let refused = details(
        &mut scout,
        "task_delegate",
        json!({"description": "x", "agent": "builder"}),
    );
    assert_eq!(refused["reason"], "delegation_not_accepted");
    let child = delegate(
        &world,
        &token,
        json!({"description": "for worker", "agent": "worker"}),
    );
    let mut worker = world.mcp_with_token(child.token.as_str()).unwrap();
    assert!(!exec(&mut worker, "web", "read", "true").is_error);
    let refused = details(
        &mut worker,
        "exec",
        json!({"target": "db", "role": "read", "command": "true"}),
    );
    assert_eq!(
        refused["reason"], "role_not_granted",
        "scout itself has nothing on db"
    );
}

#[test]
fn w16_must_bind_child_is_locked_until_bound_to_a_proven_key() {
    let mut world = World::start().unwrap();
    let (root, token) = parent(&world);
    let child = delegate(
        &world,
        &token,
        json!({"description": "child", "must_bind": true}),
    );
    let (id, unbound) = (child.task_id, child.token.as_str());
    let mut acting = world.mcp_with_token(unbound).unwrap();
    let locked = acting.tool("list_targets", json!({})).unwrap();
    assert!(
        locked.is_error && locked.text.contains("423 Locked"),
        "{}",
        locked.text
    );

    let (mine, other) = (key(1), key(2));
    let arguments = json!({"task_id": id, "holder_pub_key": public(&mine)});
    let without = acting.tool("task_bind", arguments.clone()).unwrap();
    assert!(
        without.is_error && without.text.contains("Ephyr-Proof"),
        "{}",
        without.text
    );
    let forged = call(
        &mut acting,
        "task_bind",
        unbound,
        &other,
        &arguments.clone(),
    );
    assert_eq!(
        forged["isError"], true,
        "the proof is by another key than the one to bind"
    );
    let parents = json!({"task_id": root, "holder_pub_key": public(&mine)});
    assert_eq!(
        call(&mut acting, "task_bind", unbound, &mine, &parents)["isError"],
        true,
        "the token does not bind its parent"
    );

    let bound = call(&mut acting, "task_bind", unbound, &mine, &arguments.clone());
    assert_eq!(bound["isError"], false, "{bound}");
    let bound = bound["structuredContent"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let again = call(&mut acting, "task_bind", unbound, &mine, &arguments);
    assert_eq!(
        again["structuredContent"]["token"],
        bound.as_str(),
        "repeating the binding returns the same token"
    );
    let stolen = json!({"task_id": id, "holder_pub_key": public(&other)});
    assert_eq!(
        call(&mut acting, "task_bind", unbound, &other, &stolen)["isError"],
        true,
        "no rebinding"
    );
    assert!(
        acting.tool("list_targets", json!({})).unwrap().is_error,
        "the unbound token is dead"
    );

    let mut holder = world.mcp_with_token(&bound).unwrap();
    assert_eq!(
        holder.call("list_targets", json!({})).unwrap().status,
        401,
        "a proof is needed"
    );
    assert_eq!(
        call(&mut holder, "list_targets", &bound, &mine, &json!({}))["isError"],
        false
    );
    world.broker().unwrap().kill().unwrap();
    world.start_broker().unwrap();
    assert_eq!(
        call(&mut holder, "list_targets", &bound, &mine, &json!({}))["isError"],
        false,
        "after a kill"
    );
    assert!(
        acting.tool("list_targets", json!({})).unwrap().is_error,
        "still dead"
    );
}

#[test]
fn w17_proof_is_valid_for_one_request_and_once() {
    let world = World::start().unwrap();
    let mine = key(3);
    let mut scout = world.mcp_with_key("scout").unwrap();
    let bound = TaskCreateArguments {
        holder_pub_key: Some(public(&mine)),
        ..TaskCreateArguments::new("bound")
    };
    let created = scout.invoke(&bound).unwrap();
    let (id, token) = (created.task_id, created.token.as_str());
    let mut holder = world.mcp_with_token(token).unwrap();
    let info = body("task_info", &json!({"task_id": id}));
    let revoke = body("task_revoke", &json!({"task_id": id}));
    assert_eq!(
        send(&mut holder, "task_info", token, &mine, &info, &info).status,
        200
    );
    let swapped = send(&mut holder, "task_revoke", token, &mine, &info, &revoke);
    assert_eq!(swapped.status, 401, "a proof for reading does not revoke");
    assert_eq!(
        send(&mut holder, "task_info", token, &key(4), &info, &info).status,
        401,
        "another key"
    );
    let nonce = Nonce([7; 16]);
    assert_eq!(
        prove(&mut holder, "task_info", token, &mine, nonce, &info, &info).status,
        200
    );
    assert_eq!(
        prove(&mut holder, "task_info", token, &mine, nonce, &info, &info).status,
        401,
        "a repeated nonce"
    );
    let info = TaskInfoArguments {
        task_id: Some(id.to_string()),
    };
    assert!(!scout.invoke(&info).unwrap().task.summary.is_revoked);
}

#[test]
fn require_pop_agent_gets_no_token_without_a_key() {
    let world = World::builder()
        .edit(|policy, _| policy["agents"]["scout"]["require_pop"] = json!(true))
        .start()
        .unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    assert_eq!(
        details(&mut scout, "task_create", json!({"description": "x"}))["reason"],
        "holder_required"
    );
    let with = json!({"description": "x", "holder_pub_key": public(&key(5))});
    assert!(!scout.tool("task_create", with).unwrap().is_error);
}

#[test]
fn unbound_child_ends_at_its_bind_deadline() {
    let world = World::start().unwrap();
    let (_, token) = parent(&world);
    let child = delegate(
        &world,
        &token,
        json!({"description": "child", "must_bind": true}),
    );
    let mut acting = world.mcp_with_token(child.token.as_str()).unwrap();
    assert_eq!(
        acting.call("list_targets", json!({})).unwrap().status,
        200,
        "locked, but alive"
    );
    std::thread::sleep(std::time::Duration::from_secs(29));
    eventually("the end of the child", || {
        (acting.call("list_targets", json!({})).unwrap().status == 401).then_some(())
    });
}
