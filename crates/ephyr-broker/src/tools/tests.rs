//! Tests of the tools on the real router and state: visibility, dry runs, and isolation between tasks.

mod shared_types;

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use ephyr_core::ids;
use ephyr_names::{Digest, Ttl};
use ephyr_token::{HolderKey, Nonce, Proof, ProofRequest, Token};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::clock;
use crate::http::{Entrypoint, Peer, Router};
use crate::testing::{Answer, Bench, HOME, HOME_UID, ask, head, load, mcp, policy};

const PEER: Peer = Peer::Uid(HOME_UID);
const LIFE: Ttl = Ttl::from_secs(600);

struct Desk {
    bench: Bench,
    router: Arc<Router>,
}

fn two_targets() -> Value {
    let mut policy = policy();
    policy["targets"]["db"] = policy["targets"]["web"].clone();
    policy["targets"]["db"]["port"] = json!(2);
    policy["agents"][HOME]["ssh"]["db"] = json!({"roles": ["read"]});
    policy["agents"]["away"]["accept_delegation_from"] = json!([HOME]);
    policy
}

impl Desk {
    fn new() -> Self {
        let bench = Bench::new(&two_targets());
        let router = bench.router(Entrypoint::Unix);
        Self { bench, router }
    }

    /// Calls a tool with a token, or by UID if `token` is empty.
    async fn call(&self, token: &str, tool: &str, arguments: Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let headers = if token.is_empty() { &[][..] } else { &headers };
        let params = json!({"name": tool, "arguments": arguments});
        ask(&self.router, PEER, mcp("tools/call", params, headers)).await
    }

    async fn good(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let answer = self.call(token, tool, arguments).await;
        let result = &answer.body["result"];
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_ne!(result["isError"], true, "{result}");
        result["structuredContent"].clone()
    }

    /// Calls a tool and returns the reason of its refusal.
    async fn refused(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let answer = self.call(token, tool, arguments).await;
        assert_eq!(answer.body["result"]["isError"], true, "{}", answer.body);
        answer.body["result"]["_meta"]["ephyr/error"]["reason"].clone()
    }

    async fn create(&self, envelope: Value) -> (String, String) {
        let arguments = json!({"description": "x", "can_delegate": true, "envelope": envelope});
        let made = self.good("", "task_create", arguments).await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("task_id"), text("token"))
    }

    fn tasks(&self) -> usize {
        self.bench.broker.state().task_count()
    }
}

fn exec(target: &str) -> Value {
    json!({"target": target, "role": "read", "command": "true", "dry_run": true})
}

#[tokio::test]
async fn w11_token_acts_only_in_its_own_task_and_envelope() {
    let desk = Desk::new();
    let (one, narrow) = desk.create(json!({"targets": ["web"]})).await;
    let (two, wide) = desk.create(json!({})).await;
    for (token, target, allowed) in [
        (&narrow, "web", true),
        (&narrow, "db", false),
        (&wide, "db", true),
    ] {
        let asked = desk.good(token, "exec", exec(target)).await;
        assert_eq!(asked["decision"]["allowed"], allowed, "{target}: {asked}");
    }
    let seen = desk.good(&narrow, "task_list", json!({})).await;
    assert_eq!(
        (&seen["count"], &seen["tasks"][0]["id"]),
        (&json!(1), &json!(one))
    );
    for (tool, dry_run) in [("task_info", false), ("task_revoke", true)] {
        let arguments = |task: &str| {
            let mut arguments = json!({"task_id": task});
            if dry_run {
                arguments["dry_run"] = json!(true);
            }
            arguments
        };
        let other = desk.refused(&narrow, tool, arguments(&two)).await;
        assert_eq!(other, "task_not_found", "{tool}");
        desk.good(&narrow, tool, arguments(&one)).await;
    }
    desk.good(&wide, "task_info", json!({})).await;
}

/// Sends one message of a protocol version with sessions; returns the status and the session id.
async fn message(
    desk: &Desk,
    token: &str,
    session: Option<&str>,
    body: Value,
) -> (StatusCode, Option<String>) {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("authorization", bearer.as_str()),
        ("mcp-protocol-version", "2025-06-18"),
    ];
    headers.extend(session.map(|session| ("mcp-session-id", session)));
    let head = head(Method::POST, "/mcp", &headers);
    let admitted = Arc::clone(&desk.router).admit(PEER, &head).await;
    let Ok(admitted) = admitted else {
        panic!("not admitted")
    };
    let body = bytes::Bytes::from(body.to_string());
    let response = Arc::clone(&desk.router).answer(admitted, head, body).await;
    let id = response.headers().get("mcp-session-id");
    let id = id.map(|id| id.to_str().unwrap().to_owned());
    let status = response.status();
    response.into_body().collect().await.unwrap();
    (status, id)
}

#[tokio::test]
async fn w11_mcp_session_is_valid_in_its_own_task_only() {
    let desk = Desk::new();
    let (_, one) = desk.create(json!({})).await;
    let (_, two) = desk.create(json!({})).await;
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    }});
    let (status, session) = message(&desk, &one, None, hello).await;
    assert_eq!(status, StatusCode::OK);
    let session = session.unwrap();
    let call = || {
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "list_targets", "arguments": {},
        }})
    };
    let own = message(&desk, &one, Some(&session), call()).await.0;
    assert_eq!(own, StatusCode::OK);
    let others = message(&desk, &two, Some(&session), call()).await.0;
    assert_eq!(others, StatusCode::NOT_FOUND, "another task's session");
}

#[tokio::test]
async fn delegation_dry_run_creates_no_task() {
    let desk = Desk::new();
    let (_, token) = desk
        .create(json!({"ssh": {"web": ["read"], "db": ["read"]}}))
        .await;
    let ask = |agent: &str, envelope: Value| json!({"description": "x", "agent": agent, "envelope": envelope, "dry_run": true});
    let web = json!({"targets": ["web"]});
    let would = desk
        .good(&token, "task_delegate", ask("away", web.clone()))
        .await;
    assert_eq!(would["decision"]["allowed"], true, "{would}");
    assert_eq!(would["envelope"]["targets"], json!(["web"]));
    assert_eq!(would["agent"], "away");
    assert_eq!(would.get("token"), None);
    for (agent, envelope, reason) in [
        // An agent that does not exist looks like one that accepts nothing.
        ("nobody", json!({}), "delegation_not_accepted"),
        (HOME, json!({"targets": ["elsewhere"]}), "mint_refused"),
    ] {
        let would = desk
            .good(&token, "task_delegate", ask(agent, envelope))
            .await;
        assert_eq!(would["decision"]["allowed"], false);
        assert_eq!(would["decision"]["reason"], reason, "{would}");
    }
    assert_eq!(desk.tasks(), 1, "nothing was made");
    let mut real = ask("away", web);
    real["dry_run"] = json!(false);
    let made = desk.good(&token, "task_delegate", real).await;
    assert_eq!(made["envelope"]["targets"], json!(["web"]));
    assert_eq!(desk.tasks(), 2);
}

#[tokio::test]
async fn long_lists_are_truncated_with_their_count() {
    let desk = Desk::new();
    let (root, token) = desk.create(json!({})).await;
    let root_id = root.parse().unwrap();
    let mut newest = String::new();
    for _ in 0..1005 {
        let (id, _) = desk.bench.task(HOME, LIFE, |record| {
            record.lineage = Box::new([root_id, record.id]);
        });
        newest = id.to_string().max(newest);
    }
    for (token, tool) in [("", "task_list"), (token.as_str(), "task_list")] {
        let listed = desk.good(token, tool, json!({})).await;
        assert_eq!(
            (&listed["count"], &listed["truncated"]),
            (&json!(1006), &json!(true))
        );
        let tasks = listed["tasks"].as_array().unwrap();
        assert_eq!(tasks.len(), 1000);
        assert_eq!(tasks[999]["id"], json!(newest), "the newest are shown");
    }
    let arguments = json!({"task_id": root, "dry_run": true});
    let would = desk.good("", "task_revoke", arguments).await;
    assert_eq!(
        (&would["cascade_count"], &would["truncated"]),
        (&json!(1006), &json!(true))
    );
    let falls = would["tasks"].as_array().unwrap();
    assert_eq!((falls.len(), &falls[0]), (1000, &json!(root)));
    desk.good(&token, "task_info", json!({})).await;
    assert_eq!(desk.tasks(), 1006, "a dry run revokes nothing");
}

#[tokio::test]
async fn long_descriptions_truncate_the_list_sooner() {
    let desk = Desk::new();
    let mut newest = String::new();
    for _ in 0..100 {
        let (id, _) = desk.bench.task(HOME, LIFE, |record| {
            record.description = "€".repeat(1024).into();
        });
        newest = id.to_string().max(newest);
    }
    let listed = desk.good("", "task_list", json!({})).await;
    assert_eq!(
        (&listed["count"], &listed["truncated"]),
        (&json!(100), &json!(true))
    );
    let tasks = listed["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 256 / 3);
    assert_eq!(tasks.last().unwrap()["id"], json!(newest));
}

#[tokio::test]
async fn task_list_has_descendants_and_drops_expired_tasks() {
    let desk = Desk::new();
    let (root, _) = desk.create(json!({})).await;
    let root = root.parse().unwrap();
    let (theirs, _) = desk.bench.task("away", LIFE, |record| {
        record.initiated_by = HOME.parse().unwrap();
        record.lineage = Box::new([root, record.id]);
        record.expires = clock::now().after(Ttl::from_secs(60));
    });
    desk.bench.task("away", LIFE, |_| {});
    let listed = desk.good("", "task_list", json!({})).await;
    assert_eq!(
        listed["count"], 2,
        "its own and the one below, not the other agent's"
    );
    let later = clock::now().after(Ttl::from_secs(61));
    assert_eq!(desk.bench.broker.state().sweep(later), 1);
    let listed = desk.good("", "task_list", json!({})).await;
    assert_eq!(listed["count"], 1);
    assert_ne!(listed["tasks"][0]["id"], json!(theirs.to_string()));
}

#[tokio::test]
async fn require_pop_after_reload_refuses_unbound_tokens() {
    let desk = Desk::new();
    let (_, token) = desk.create(json!({})).await;
    desk.good(&token, "task_info", json!({})).await;
    let reload = |require: bool| {
        let mut policy = two_targets();
        policy["agents"][HOME]["require_pop"] = json!(require);
        let path = desk.bench.write_policy(&policy);
        let loaded = load(path.parent().unwrap(), &policy);
        desk.bench.broker.replace_policy(Arc::new(loaded));
    };
    reload(true);
    for tool in ["task_info", "task_bind"] {
        let arguments = json!({"task_id": "01KAT00000000000000000R00T"});
        let refused = desk.call(&token, tool, arguments).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{tool}");
        assert_eq!(refused.body["code"], "holder_required", "{}", refused.body);
    }
    reload(false);
    desk.good(&token, "task_info", json!({})).await;
}

/// Returns a `task_info` call with a bound token and its proof.
fn proven(token: &str, key: &SigningKey) -> (http::request::Parts, String) {
    proven_call(token, key, "task_info", &json!({}))
}

/// Returns a tool call with a token and a proof by a key.
fn proven_call(
    token: &str,
    key: &SigningKey,
    tool: &str,
    arguments: &Value,
) -> (http::request::Parts, String) {
    let bearer = format!("Bearer {token}");
    let params = json!({"name": tool, "arguments": arguments});
    let (_, body) = mcp("tools/call", params.clone(), &[]);
    let request = ProofRequest {
        method: "POST",
        path: "/mcp",
        body: Digest(Sha256::digest(body.as_bytes()).into()),
        token: Token::from_text(token).unwrap().digest(),
    };
    let proof = Proof::sign(key, &request, Nonce(ids::random()), clock::now()).to_string();
    let headers = [
        ("authorization", bearer.as_str()),
        ("ephyr-proof", proof.as_str()),
    ];
    mcp("tools/call", params, &headers)
}

#[tokio::test]
async fn w17_used_proof_is_refused_after_a_restart() {
    let desk = Desk::new();
    let key = SigningKey::from_bytes(&[1; 32]);
    let holder = HolderKey::from_bytes(key.verifying_key().to_bytes()).unwrap();
    let arguments = json!({"description": "x", "holder_pub_key": holder.to_string()});
    let made = desk.good("", "task_create", arguments).await;
    let token = made["token"].as_str().unwrap().to_owned();
    let (head, body) = proven(&token, &key);
    let again = |desk: &Desk| {
        let (router, head, body) = (Arc::clone(&desk.router), copy(&head), body.clone());
        async move { ask(&router, PEER, (head, body)).await.status }
    };
    assert_eq!(again(&desk).await, StatusCode::OK);
    let Desk { bench, router } = desk;
    drop(router);
    let bench = bench.restart(&two_targets());
    let router = bench.router(Entrypoint::Unix);
    let desk = Desk { bench, router };
    assert_eq!(
        again(&desk).await,
        StatusCode::UNAUTHORIZED,
        "used before the restart"
    );
    let fresh = ask(&desk.router, PEER, proven(&token, &key)).await;
    assert_eq!(
        fresh.status,
        StatusCode::OK,
        "a good client notices nothing"
    );
}

/// Narrows a token offline, as a holder can.
fn narrowed(token: &str) -> String {
    let caveat = "role IN [read]".parse().unwrap();
    let token = Token::from_text(token).unwrap();
    token.append(&caveat).unwrap().as_text()
}

#[tokio::test]
async fn narrowed_token_neither_binds_nor_revokes() {
    let desk = Desk::new();
    let (id, whole) = desk.create(json!({})).await;
    let narrow = narrowed(&whole);
    desk.good(&narrow, "task_info", json!({})).await;
    let child = json!({"description": "below"});
    let child = desk.good(&narrow, "task_delegate", child).await;

    let key = SigningKey::from_bytes(&[2; 32]);
    let holder = HolderKey::from_bytes(key.verifying_key().to_bytes()).unwrap();
    let bind = json!({"task_id": id, "holder_pub_key": holder.to_string()});
    let bind_with = |token: &str| {
        let request = proven_call(token, &key, "task_bind", &bind);
        let router = Arc::clone(&desk.router);
        async move { ask(&router, PEER, request).await.body["result"].clone() }
    };
    let refused = bind_with(&narrow).await;
    assert_eq!(refused["_meta"]["ephyr/error"]["reason"], "token_narrowed");
    for task in [json!(id), child["task_id"].clone()] {
        for dry_run in [true, false] {
            let revoke = json!({"task_id": task, "dry_run": dry_run});
            let refused = desk.refused(&narrow, "task_revoke", revoke).await;
            assert_eq!(refused, "token_narrowed", "{task}");
        }
    }
    assert_eq!(
        desk.bench.last("denied")["decision"]["reason"],
        "token_narrowed"
    );
    desk.good(&whole, "task_info", json!({})).await;

    // Allowed counterparts: a child revokes its own task, and the holder of the full token binds it.
    let below = child["token"].as_str().unwrap();
    let revoke = json!({"task_id": child["task_id"]});
    desk.good(below, "task_revoke", revoke).await;
    let bound = bind_with(&whole).await;
    assert_eq!(bound["structuredContent"]["bound"], true, "{bound}");
}

#[tokio::test]
async fn denial_does_not_reveal_whether_a_target_exists() {
    let mut text = two_targets();
    text["targets"]["off"] = text["targets"]["web"].clone();
    text["targets"]["off"]["port"] = json!(3);
    text["targets"]["off"]["enabled"] = json!(false);
    text["agents"][HOME]["ssh"]
        .as_object_mut()
        .unwrap()
        .remove("db");
    let bench = Bench::new(&text);
    let router = bench.router(Entrypoint::Unix);
    let desk = Desk { bench, router };
    let (_, token) = desk.create(json!({})).await;
    let (_, web_only) = desk.create(json!({"targets": ["web"]})).await;
    for token in ["", &token, &web_only] {
        let mut answers = Vec::new();
        // One granted to others, one switched off, and one that does not exist.
        for target in ["db", "off", "nil"] {
            let mut said = Vec::new();
            for dry_run in [true, false] {
                let mut arguments = exec(target);
                arguments["dry_run"] = json!(dry_run);
                let answer = desk.call(token, "exec", arguments).await;
                assert_eq!(answer.status, StatusCode::OK);
                said.push(answer.body["result"].to_string().replace(target, "?"));
            }
            if token.is_empty() {
                let body =
                    json!({"target": target, "role": "read", "public_key": "x", "dry_run": true});
                let asked = (head(Method::POST, "/v1/request", &[]), body.to_string());
                let answer = ask(&desk.router, PEER, asked).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN);
                said.push(answer.body.to_string().replace(target, "?"));
            }
            assert!(
                said[1].contains("web as read"),
                "what it may use: {}",
                said[1]
            );
            answers.push(said);
        }
        assert_eq!(answers[0], answers[2], "a target of others and none");
        assert_eq!(answers[1], answers[2], "one switched off and none");
    }
    // The audit log records the reason.
    let reasons = |target: &str| {
        let denied = desk.bench.records().into_iter();
        let of_target = denied
            .filter(|record| record["event"] == "denied" && record["action"]["target"] == target);
        let reason = |record: Value| record["decision"]["reason"].as_str().unwrap().to_owned();
        of_target.map(reason).collect::<Vec<_>>()
    };
    for (target, reason) in [
        ("db", "role_not_granted"),
        ("off", "target_disabled"),
        ("nil", "target_unknown"),
    ] {
        let reasons = reasons(target);
        assert!(!reasons.is_empty(), "{target}");
        assert!(reasons.iter().all(|found| found == reason), "{reasons:?}");
    }
    // Allowed counterpart: for a reachable target, the answer gives the reason.
    let mut arguments = exec("web");
    arguments["role"] = json!("operator");
    let asked = desk.good("", "exec", arguments).await;
    assert_eq!(
        asked["decision"]["rule"], "agents.home.ssh.web.roles",
        "{asked}"
    );
}

fn copy(head: &http::request::Parts) -> http::request::Parts {
    let mut request = http::Request::builder()
        .method(head.method.clone())
        .uri(head.uri.clone());
    *request.headers_mut().unwrap() = head.headers.clone();
    request.body(()).unwrap().into_parts().0
}
