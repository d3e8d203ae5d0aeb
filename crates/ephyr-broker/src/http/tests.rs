//! Tests of the router: admission, authentication, and commands whose task is revoked.

use ephyr_names::Ttl;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::clock;
use crate::testing::{Answer, Bench, HOME_UID, admit, ask, finish, head, mcp, policy};

const HOME: Peer = Peer::Uid(HOME_UID);
const FAR: Peer = Peer::Ip(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
const LIFE: Ttl = Ttl::from_secs(600);

fn get(path: &str, headers: &[(&str, &str)]) -> (http::request::Parts, String) {
    (head(Method::GET, path, headers), String::new())
}

fn post(path: &str, body: &Value) -> (http::request::Parts, String) {
    (head(Method::POST, path, &[]), body.to_string())
}

fn call(tool: &str, arguments: &Value, token: &str) -> (http::request::Parts, String) {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let headers = if token.is_empty() { &[][..] } else { &headers };
    mcp(
        "tools/call",
        json!({"name": tool, "arguments": arguments}),
        headers,
    )
}

/// Returns the reason code of a tool's refusal.
fn reason(answer: &Answer) -> &Value {
    assert_eq!(answer.body["result"]["isError"], true, "{}", answer.body);
    &answer.body["result"]["_meta"]["ephyr/error"]["reason"]
}

#[tokio::test]
async fn tcp_serves_only_whoami_of_the_api() {
    let bench = Bench::new(&policy());
    let origins = Vec::new();
    let (unix, tcp) = (
        bench.router(Entrypoint::Unix),
        bench.router(Entrypoint::Tcp { origins }),
    );
    let (_, token) = bench.task("away", LIFE, |_| {});
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    for path in ["/v1/targets", "/v1/certs", "/v1/session"] {
        let there = ask(&unix, HOME, get(path, &[])).await.body["code"].clone();
        assert!(there.is_null() || there == "no_session", "{path}: {there}");
        let answer = ask(&tcp, FAR, get(path, &headers)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let answer = ask(&tcp, FAR, get("/v1/whoami", &headers)).await;
    assert_eq!(answer.body["agent"], "away");
}

#[tokio::test]
async fn health_details_need_a_known_uid() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Entrypoint::Unix);
    for (peer, inside) in [
        (HOME, true),
        (Peer::Uid(0), true),
        (Peer::Uid(4999), false),
        (FAR, false),
    ] {
        let answer = ask(&unix, peer, get("/v1/health", &[])).await;
        assert_eq!(answer.body["status"], "ok");
        assert_eq!(answer.body["details"].is_object(), inside, "{peer:?}");
        // No CA key is pinned here.
        let warning = answer.body["details"]["warnings"][0].as_str();
        assert_eq!(warning.is_some_and(|w| w.contains("--ca-pub")), inside);
    }
}

#[tokio::test]
async fn health_is_answered_without_reading_a_body() {
    let bench = Bench::new(&policy());
    let origins = Vec::new();
    let tcp = bench.router(Entrypoint::Tcp { origins });
    let headers = [("content-length", "1048576")];
    let asked = head(Method::GET, "/v1/health", &headers);
    let Err(answer) = admit(&tcp, FAR, &asked).await else {
        panic!("a body of 1 MiB would be read from an unknown caller");
    };
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["status"], "ok");
}

#[tokio::test]
async fn rate_limit_covers_api_and_mcp_together() {
    let mut policy = policy();
    policy["global"]["rate_limit"] = json!("3/1m");
    let bench = Bench::new(&policy);
    let unix = bench.router(Entrypoint::Unix);
    for _ in 0..2 {
        assert_eq!(
            ask(&unix, HOME, get("/v1/whoami", &[])).await.status,
            StatusCode::OK
        );
    }
    let list = || call("list_targets", &json!({}), "");
    assert_eq!(ask(&unix, HOME, list()).await.status, StatusCode::OK);
    for request in [list(), get("/v1/whoami", &[])] {
        let answer = ask(&unix, HOME, request).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.body["code"], "rate_limited");
    }
    let (_, token) = bench.task("away", LIFE, |_| {});
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let other = ask(&unix, FAR, get("/v1/whoami", &headers)).await;
    assert_eq!(other.status, StatusCode::OK, "another agent's turns");
}

#[tokio::test]
async fn api_session_checks_token_and_agent_name() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Entrypoint::Unix);
    let wrong = ask(
        &unix,
        HOME,
        get("/v1/whoami", &[("x-session-token", "guess")]),
    )
    .await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.body["code"], "session_invalid");
    let other = ask(
        &unix,
        HOME,
        post("/v1/session", &json!({"agent_name": "away"})),
    )
    .await;
    assert_eq!(other.body["code"], "not_your_name");
    let said = other.body["error"].as_str().unwrap();
    assert!(said.starts_with("your UID is agent home's"), "{said}");
    let token = bench.task("home", LIFE, |_| {}).1;
    let bearer = format!("Bearer {token}");
    let by_token = head(
        Method::POST,
        "/v1/session",
        &[("authorization", bearer.as_str())],
    );
    let body = json!({"agent_name": "away"}).to_string();
    let other = ask(&unix, HOME, (by_token, body)).await;
    let said = other.body["error"].as_str().unwrap();
    assert!(
        said.starts_with("your task token is agent home's"),
        "{said}"
    );
    let opened = ask(
        &unix,
        HOME,
        post("/v1/session", &json!({"agent_name": "home"})),
    )
    .await;
    let token = opened.body["token"].as_str().unwrap().to_owned();
    let right = ask(
        &unix,
        HOME,
        get("/v1/whoami", &[("x-session-token", &token)]),
    )
    .await;
    assert_eq!(right.status, StatusCode::OK);
}

#[tokio::test]
async fn token_to_be_bound_opens_neither_api_nor_resources() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Entrypoint::Unix);
    let deadline = clock::now().after(Ttl::from_secs(30));
    let locked = bench
        .task("home", LIFE, |record| record.bind_deadline = Some(deadline))
        .1;
    let free = bench.task("home", LIFE, |_| {}).1;
    for (token, is_locked) in [(locked, true), (free, false)] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let answer = ask(&unix, HOME, get("/v1/targets", &headers)).await;
        assert_eq!(answer.status == StatusCode::LOCKED, is_locked);
        let page = mcp(
            "resources/read",
            json!({"uri": "ephyr://targets"}),
            &headers,
        );
        let answer = ask(&unix, HOME, page).await;
        assert_eq!(
            answer.body["error"].is_object(),
            is_locked,
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn expired_or_wrongly_bound_token_is_refused() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Entrypoint::Unix);
    let refused = async |token: &str, headers: &[(&str, &str)]| {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        ask(&unix, HOME, get("/v1/whoami", &all)).await.body["code"].clone()
    };
    let good = bench.task("home", LIFE, |_| {}).1;
    assert_eq!(refused(&good, &[]).await, Value::Null);
    // The record still exists, as it does until the next sweep.
    let over = bench.task("home", Ttl::from_secs(0), |_| {}).1;
    assert_eq!(refused(&over, &[]).await, "expired");

    let key = |seed: u8| {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        ephyr_token::HolderKey::from_bytes(key.verifying_key().to_bytes()).unwrap()
    };
    let (id, unbound) = bench.task("home", LIFE, |record| record.holder = Some(key(1)));
    assert_eq!(refused(&unbound, &[]).await, "locked", "superseded");
    let epoch = bench.broker.state().newest_epoch().unwrap();
    let root_key = epoch.root_key(id);
    let verified = ephyr_token::UnverifiedToken::parse(&unbound)
        .unwrap()
        .verify(&root_key)
        .unwrap();
    for (holder, code) in [(1, "proof_invalid"), (2, "holder_mismatch")] {
        let bound = ephyr_token::rebind(&root_key, &verified, &key(holder)).unwrap();
        assert_eq!(refused(&bound.as_text(), &[]).await, code);
    }
}

#[tokio::test]
async fn policy_limits_root_creation_and_ttl() {
    let mut text = policy();
    text["agents"]["home"]["delegated_only"] = json!(true);
    text["agents"]["home"]["accept_delegation_from"] = json!(["away"]);
    let (open, closed) = (Bench::new(&policy()), Bench::new(&text));
    let create = |ttl: &str| call("task_create", &json!({"description": "x", "ttl": ttl}), "");
    let answer = ask(&closed.router(Entrypoint::Unix), HOME, create("1m")).await;
    assert_eq!(reason(&answer), "delegated_only");
    let unix = open.router(Entrypoint::Unix);
    for ttl in ["0s", "3601s"] {
        let answer = ask(&unix, HOME, create(ttl)).await;
        assert_eq!(reason(&answer), "ttl_out_of_range", "{ttl}");
    }
    let answer = ask(&unix, HOME, create("3600s")).await;
    assert_eq!(answer.body["result"]["isError"], false, "{}", answer.body);
}

#[tokio::test]
async fn require_pop_makes_a_child_bindable_only() {
    for must in [true, false] {
        let mut policy = policy();
        policy["agents"]["away"]["require_pop"] = json!(must);
        policy["agents"]["away"]["accept_delegation_from"] = json!(["home"]);
        let bench = Bench::new(&policy);
        let unix = bench.router(Entrypoint::Unix);
        let token = bench.task("home", LIFE, |_| {}).1;
        let arguments = json!({"description": "x", "agent": "away"});
        let made = call("task_delegate", &arguments, &token);
        let child = ask(&unix, HOME, made).await.body["result"]["structuredContent"].clone();
        assert_eq!(child["bind_deadline"].is_string(), must, "{child}");
    }
}

#[tokio::test]
async fn task_revoked_before_the_command_starts_runs_nothing() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Entrypoint::Unix);
    let arguments = json!({"target": "web", "role": "read", "command": "id"});
    for revoked in [true, false] {
        let (id, token) = bench.task("home", LIFE, |_| {});
        let (head, body) = call("exec", &arguments, &token);
        let Ok(admitted) = admit(&unix, HOME, &head).await else {
            panic!("a good token")
        };
        let task = bench.broker.state().task(id).unwrap();
        if revoked {
            bench.broker.state().revoke(&task, clock::now()).unwrap();
        }
        let answer = finish(&unix, admitted, head, &body).await;
        assert_eq!(
            reason(&answer) == "task_revoked",
            revoked,
            "{}",
            answer.body
        );
        let attempts = bench.events().contains(&"exec_attempt".to_owned());
        assert_eq!(attempts, !revoked);
        assert_eq!(
            bench.broker.gate().active(clock::now()),
            0,
            "no slot is left"
        );
    }
}

#[tokio::test]
async fn revocation_ends_a_command_on_an_unresponsive_target() {
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut policy = policy();
    policy["targets"]["web"]["port"] = json!(target.local_addr().unwrap().port());
    let bench = Bench::new(&policy);
    let _signer = bench.silent_signer();
    let unix = bench.router(Entrypoint::Unix);
    let (id, token) = bench.task("home", LIFE, |_| {});
    let arguments = json!({"target": "web", "role": "read", "command": "id"});
    let (request, router) = (call("exec", &arguments, &token), unix.clone());
    let running = tokio::spawn(async move { ask(&router, HOME, request).await });
    // The target accepts the connection and sends nothing.
    let connection = tokio::task::spawn_blocking(move || target.accept().unwrap().0);
    let connection = connection.await.unwrap();
    let revoke = call("task_revoke", &json!({"task_id": id}), "");
    let revoked = ask(&unix, HOME, revoke).await;
    let result = &revoked.body["result"]["structuredContent"];
    assert_eq!(result["ended_actions"], 1, "{}", revoked.body);
    let ended = running.await.unwrap();
    assert_eq!(reason(&ended), "task_revoked", "{}", ended.body);
    assert_eq!(
        ended.body["result"]["_meta"]["ephyr/error"]["started"],
        false
    );
    assert!(bench.events().contains(&"exec_outcome".to_owned()));
    assert_eq!(bench.broker.gate().active(clock::now()), 0);
    drop(connection);
}
