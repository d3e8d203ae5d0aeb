//! Authentication: UIDs, API keys and task tokens.

use ephyr_api::{ListTargetsArguments, TaskInfoArguments, TaskListArguments};
use ephyr_testkit::http::Endpoint;
use ephyr_testkit::{Mcp, World, json, skip};

use crate::helpers::{exec, task};

#[test]
fn agents_authenticate_by_uid_api_key_or_task_token() {
    let world = World::start().unwrap();
    let mut by_key = world.mcp_with_key("scout").unwrap();
    let (_, token) = task(&mut by_key);
    let mut by_token = world.mcp_with_token(&token).unwrap();
    let mut by_uid = world.mcp_by_uid("builder").unwrap();
    for agent in [&mut by_key, &mut by_token, &mut by_uid] {
        let ran = exec(agent, "web", "read", "echo here");
        assert_eq!(ran.value["stdout"], "here\n", "{}", ran.text);
    }
    let names = |agent: &mut Mcp| {
        let found = agent.invoke(&ListTargetsArguments {}).unwrap();
        let names = found.targets.iter().map(|target| target.name.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&mut by_uid), ["db", "web"]);
    assert_eq!(names(&mut by_key), ["web"]);
    assert_eq!(names(&mut by_token), ["web"]);
}

#[test]
fn requests_without_valid_credentials_get_401() {
    let world = World::start().unwrap();
    let tcp = world.tcp().unwrap();
    for bearer in [
        None,
        Some("eph_scout_0000000000000000000000000000000000000000000"),
        Some("mac_AAAA"),
        Some("x"),
    ] {
        let answer = Mcp::new(tcp.clone(), bearer)
            .call("list_targets", json!({}))
            .unwrap();
        assert_eq!(answer.status, 401, "{bearer:?}");
    }
    let key = world.api_key("scout").unwrap().to_owned();
    assert_eq!(
        Mcp::new(tcp, Some(&key))
            .call("list_targets", json!({}))
            .unwrap()
            .status,
        200
    );
}

#[test]
fn uid_alone_identifies_the_caller_on_the_socket() {
    let world = World::start().unwrap();
    if !world.accounts().are_separate() {
        return skip("needs separate users, which only root can create");
    }
    let stranger = world.unix("stranger").unwrap();
    let refused = stranger.request("GET", "/v1/whoami", &[], b"").unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(refused.json().unwrap()["code"], "uid_unknown");
    let builder = world.unix("builder").unwrap();
    let known = builder.request("GET", "/v1/whoami", &[], b"").unwrap();
    assert_eq!(known.json().unwrap()["agent"], "builder");
    let bearer = format!("Bearer {}", world.api_key("scout").unwrap());
    let key = builder
        .request("GET", "/v1/whoami", &[("Authorization", &bearer)], b"")
        .unwrap();
    assert_eq!(key.json().unwrap()["code"], "key_on_socket");
}

#[test]
fn token_of_a_uid_agent_works_only_with_its_uid() {
    let world = World::start().unwrap();
    if !world.accounts().are_separate() {
        return skip("needs separate users, which only root can create");
    }
    let (_, token) = task(&mut world.mcp_by_uid("builder").unwrap());
    let status = |endpoint: Endpoint| {
        Mcp::new(endpoint, Some(&token))
            .call("list_targets", json!({}))
            .unwrap()
            .status
    };
    assert_eq!(
        status(world.unix("builder").unwrap()),
        200,
        "its own agent, on the socket"
    );
    assert_eq!(
        status(world.unix("worker").unwrap()),
        401,
        "another agent, on the socket"
    );
    assert_eq!(
        status(world.tcp().unwrap()),
        401,
        "over TCP, where the UID is not known"
    );
    let (_, elsewhere) = task(&mut world.mcp_with_key("scout").unwrap());
    let mut scout = world.mcp_with_token(&elsewhere).unwrap();
    assert_eq!(
        scout.call("list_targets", json!({})).unwrap().status,
        200,
        "an agent without a UID, over TCP"
    );
}

#[test]
fn token_cannot_create_a_root_task() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let (_, token) = task(&mut scout);
    let refused = world
        .mcp_with_token(&token)
        .unwrap()
        .tool("task_create", json!({"description": "x"}))
        .unwrap();
    assert!(
        refused.is_error && refused.text.contains("cannot create a root task"),
        "{}",
        refused.text
    );
}

#[test]
fn token_sees_its_own_task_and_key_all_tasks_of_the_agent() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let (one, token) = task(&mut scout);
    let (other, _) = task(&mut scout);
    let mut by_token = world.mcp_with_token(&token).unwrap();
    let listed = by_token.invoke(&TaskListArguments {}).unwrap();
    assert_eq!(listed.count, 1);
    assert_eq!(listed.tasks[0].id.to_string(), one);
    assert_eq!(scout.invoke(&TaskListArguments {}).unwrap().count, 2);
    assert!(
        by_token
            .tool("task_info", json!({"task_id": other}))
            .unwrap()
            .is_error
    );
    assert!(
        by_token
            .tool("task_revoke", json!({"task_id": other}))
            .unwrap()
            .is_error
    );
    let own = by_token.invoke(&TaskInfoArguments::default()).unwrap();
    assert_eq!(own.task.summary.id.to_string(), one);
    let mut worker = world.mcp_with_key("worker").unwrap();
    assert!(
        worker
            .tool("task_info", json!({"task_id": one}))
            .unwrap()
            .is_error,
        "a task of another agent"
    );
}
