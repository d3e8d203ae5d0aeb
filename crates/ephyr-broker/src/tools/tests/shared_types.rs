//! Checks the broker's answers against the types that clients parse them with.

use ephyr_api::v1::{ApiProblem, Health, RequestPreview, Session, WhoAmI};
use ephyr_api::{
    CertificateList, CreatedTask, ExecPreview, FailureDetails, RevokedTask, TargetList, TaskInfo,
    TaskList, TaskPreview,
};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Desk, PEER, exec};
use crate::testing::{ask, head};

/// Asserts that a type has every member of an answer.
fn reads<T: DeserializeOwned + Serialize>(answer: &Value) {
    let read: T = serde_json::from_value(answer.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), *answer);
}

#[tokio::test]
async fn types_cover_every_member_of_tool_results() {
    let desk = Desk::new();
    let made = json!({"description": "x", "can_delegate": true});
    let made = desk.good("", "task_create", made).await;
    reads::<CreatedTask<'_>>(&made);
    let token = made["token"].as_str().unwrap();
    let child = json!({"description": "x", "must_bind": true});
    reads::<CreatedTask<'_>>(&desk.good(token, "task_delegate", child).await);
    let preview = json!({"description": "x", "dry_run": true});
    reads::<TaskPreview<'_>>(&desk.good(token, "task_delegate", preview.clone()).await);
    reads::<TaskPreview<'_>>(&desk.good(token, "task_create", preview).await);
    reads::<TaskInfo<'_>>(&desk.good(token, "task_info", json!({})).await);
    reads::<TaskList<'_>>(&desk.good(token, "task_list", json!({})).await);
    reads::<TargetList<'_>>(&desk.good(token, "list_targets", json!({})).await);
    reads::<CertificateList<'_>>(&desk.good(token, "list_certs", json!({})).await);
    for target in ["web", "nil"] {
        reads::<ExecPreview<'_>>(&desk.good(token, "exec", exec(target)).await);
    }
    for dry_run in [true, false] {
        let revoke = json!({"task_id": made["task_id"], "dry_run": dry_run});
        reads::<RevokedTask<'_>>(&desk.good("", "task_revoke", revoke).await);
    }
}

#[tokio::test]
async fn types_cover_every_member_of_failure_details() {
    let desk = Desk::new();
    let run = |role: &str| json!({"target": "web", "role": role, "command": "true"});
    for (tool, arguments) in [
        ("exec", run("admin")),
        // There is no signer.
        ("exec", run("read")),
        (
            "task_info",
            json!({"task_id": "01KAT00000000000000000R00T"}),
        ),
        ("task_create", json!({"description": ""})),
    ] {
        let answer = desk.call("", tool, arguments).await;
        reads::<FailureDetails<'_>>(&answer.body["result"]["_meta"]["ephyr/error"]);
    }
}

#[tokio::test]
async fn types_cover_every_member_of_v1_answers() {
    let desk = Desk::new();
    let get = async |method: Method, path: &str, body: Value| {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = (head(method, path, &[]), body);
        ask(&desk.router, PEER, request).await.body
    };
    reads::<Health>(&get(Method::GET, "/v1/health", Value::Null).await);
    reads::<WhoAmI<'_>>(&get(Method::GET, "/v1/whoami", Value::Null).await);
    reads::<ApiProblem<'_>>(&get(Method::GET, "/v1/session", Value::Null).await);
    reads::<Session<'_>>(&get(Method::POST, "/v1/session", Value::Null).await);
    reads::<Session<'_>>(&get(Method::GET, "/v1/session", Value::Null).await);
    reads::<TargetList<'_>>(&get(Method::GET, "/v1/targets", Value::Null).await);
    reads::<CertificateList<'_>>(&get(Method::GET, "/v1/certs", Value::Null).await);
    let wanted = |target: &str| json!({"target": target, "role": "read", "public_key": "x", "dry_run": true});
    reads::<RequestPreview<'_>>(&get(Method::POST, "/v1/request", wanted("web")).await);
    reads::<ApiProblem<'_>>(&get(Method::POST, "/v1/request", wanted("nil")).await);
}
