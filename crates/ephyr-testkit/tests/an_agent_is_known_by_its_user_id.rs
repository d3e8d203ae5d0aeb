//! On the broker's Unix socket the user id of the connection identifies the caller. No API key is
//! needed, and none is accepted.

use ephyr_api::TaskCreateArguments;
use ephyr_testkit::{World, json, skip};

#[test]
fn exec_runs_as_the_account_of_the_requested_role() {
    let mut world = World::start().unwrap();
    let mut builder = world.mcp_by_uid("builder").unwrap();
    let mut grants = vec![("web", "read", "eph-read"), ("db", "read", "eph-read")];
    if world.accounts().have_role_accounts() {
        grants.push(("web", "operator", "eph-op"));
    }
    for (target, role, label) in grants {
        let arguments =
            json!({"target": target, "role": role, "command": "id -un; echo oops >&2; exit 3"});
        let ran = builder.tool("exec", arguments).unwrap();
        assert!(!ran.is_error, "{}", ran.text);
        let account = world.accounts().role_account(label).unwrap();
        assert_eq!(ran.value["stdout"], json!(account + "\n"), "{}", ran.value);
        assert_eq!(ran.value["stderr"], "oops\n");
        assert_eq!(ran.value["exit_code"], 3);
        assert_eq!(
            (&ran.value["target"], &ran.value["role"]),
            (&json!(target), &json!(role))
        );
        assert!(
            ran.value["receipt"]["text"]
                .as_str()
                .unwrap()
                .starts_with("rcpt_")
        );
        let log = world.target(target).unwrap().log();
        assert!(
            log.contains(&format!("ephyr:builder@{target}/{role}:")),
            "{log}"
        );
    }
}

#[test]
fn user_id_without_an_agent_is_refused() {
    let world = World::start().unwrap();
    if !world.accounts().are_separate() {
        return skip("a second user needs root");
    }
    let stranger = world.unix("stranger").unwrap();
    let response = stranger.request("GET", "/v1/whoami", &[], b"").unwrap();
    assert_eq!(response.status, 403, "{}", response.text());
    assert_eq!(response.json().unwrap()["code"], "uid_unknown");
    let known = world
        .unix("builder")
        .unwrap()
        .request("GET", "/v1/whoami", &[], b"")
        .unwrap();
    assert_eq!(known.json().unwrap()["agent"], "builder");
}

#[test]
fn task_token_is_refused_for_another_user_id() {
    let world = World::start().unwrap();
    if !world.accounts().are_separate() {
        return skip("a second user needs root");
    }
    let mut builder = world.mcp_by_uid("builder").unwrap();
    let made = builder.invoke(&TaskCreateArguments::new("mine")).unwrap();
    let bearer = format!("Bearer {}", made.token.as_str());
    let list = |agent: &str| {
        let mut client = world
            .mcp_by_uid(agent)
            .unwrap()
            .with_header("authorization", &bearer);
        client.tool("list_targets", json!({}))
    };
    assert!(list("builder").is_ok());
    let error = list("worker").unwrap_err().to_string();
    assert!(error.contains("HTTP 40"), "{error}");
    // TCP carries no user id: a token of an agent with a user id is refused there.
    assert!(
        world
            .mcp_with_token(made.token.as_str())
            .unwrap()
            .tool("list_targets", json!({}))
            .is_err()
    );
}

#[test]
fn api_key_is_refused_on_the_unix_socket() {
    let world = World::start().unwrap();
    let bearer = format!("Bearer {}", world.api_key("scout").unwrap());
    let socket = world.unix("builder").unwrap();
    let headers = [("authorization", bearer.as_str())];
    let response = socket.request("GET", "/v1/whoami", &headers, b"").unwrap();
    assert_eq!(response.status, 403, "{}", response.text());
    assert_eq!(response.json().unwrap()["code"], "key_on_socket");
    let response = world
        .tcp()
        .unwrap()
        .request("GET", "/v1/whoami", &headers, b"")
        .unwrap();
    assert_eq!(response.json().unwrap()["agent"], "scout");
}
