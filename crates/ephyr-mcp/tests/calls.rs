//! Running calls: cancellation, progress and streaming.

#![cfg(test)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::Mock;
use ephyr_mcp::{Body, KEEP_ALIVE, Server, SessionKey};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::Duration;

type Headers<'a> = &'a [(&'static str, &'a str)];

const OLD: Headers<'static> = &[("mcp-protocol-version", "2025-11-25")];
const NEW: Headers<'static> = &[
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-method", "tools/call"),
    ("mcp-name", "count"),
];

struct Setup {
    mock: Arc<Mock>,
    server: Arc<Server<Mock>>,
}

impl Setup {
    fn new() -> Self {
        let mock = Arc::new(Mock::new().unwrap());
        let server = Arc::new(mock.server(SessionKey::from_bytes([7; 32])).unwrap());
        Self { mock, server }
    }

    async fn send(&self, caller: &str, headers: Headers<'_>, body: &Value) -> Response<Body> {
        let body = Bytes::from(body.to_string());
        self.server
            .handle(&caller.to_owned(), &parts(headers), &body)
            .await
    }

    /// Sends in a task of its own and waits until the call runs.
    async fn begin(
        &self,
        caller: &'static str,
        headers: Headers<'_>,
        body: Value,
    ) -> tokio::task::JoinHandle<Response<Body>> {
        let server = Arc::clone(&self.server);
        let parts = parts(headers);
        let sent = tokio::spawn(async move {
            server
                .handle(&caller.to_owned(), &parts, &Bytes::from(body.to_string()))
                .await
        });
        breathe().await;
        sent
    }

    async fn open_session(&self, caller: &str) -> String {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"}});
        let response = self
            .send(caller, &[], &request(0, "initialize", params))
            .await;
        response.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until the given numbers of calls have been cancelled and have finished.
    async fn settle(&self, stopped: usize, finished: usize) {
        let reached = async {
            while self.mock.stopped.load(Ordering::SeqCst) != stopped
                || self.mock.finished.load(Ordering::SeqCst) != finished
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(3600), reached).await;
        assert!(
            reached.is_ok(),
            "stopped {:?}, finished {:?}",
            self.mock.stopped,
            self.mock.finished
        );
    }
}

/// Runs all tasks that are ready, without advancing the clock.
async fn breathe() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn parts(headers: Headers<'_>) -> Parts {
    let mut request = Request::post("/mcp")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn request(id: u64, method: &str, params: Value) -> Value {
    let mut request = json!({"jsonrpc": "2.0", "id": id, "method": method});
    request["params"] = params;
    request
}

/// A call that takes a minute, optionally with a progress token.
fn minute(id: u64, token: bool) -> Value {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    if token {
        meta["progressToken"] = json!("p");
    }
    let arguments = json!({"to": 60, "pause_ms": 1000});
    request(
        id,
        "tools/call",
        json!({"name": "count", "arguments": arguments, "_meta": meta}),
    )
}

fn old_minute(id: u64) -> Value {
    let arguments = json!({"to": 60, "pause_ms": 1000});
    request(
        id,
        "tools/call",
        json!({"name": "count", "arguments": arguments}),
    )
}

fn cancel(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
}

async fn json_of(response: Response<Body>) -> Value {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn modern_disconnect_cancels_an_unanswered_call() {
    let setup = Setup::new();
    let sent = setup.begin("alpha", NEW, minute(1, false)).await;
    sent.abort();
    setup.settle(1, 0).await;
}

#[tokio::test(start_paused = true)]
async fn modern_disconnect_cancels_a_streaming_call() {
    let setup = Setup::new();
    let response = setup.send("alpha", NEW, &minute(1, true)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(setup.mock.stopped.load(Ordering::SeqCst), 0);
    drop(body);
    setup.settle(1, 0).await;
}

#[tokio::test(start_paused = true)]
async fn legacy_disconnect_does_not_cancel() {
    let setup = Setup::new();
    let sent = setup.begin("alpha", OLD, old_minute(1)).await;
    sent.abort();
    setup.settle(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn legacy_notification_cancels_and_the_call_gets_an_error() {
    let setup = Setup::new();
    let sent = setup.begin("alpha", OLD, old_minute(1)).await;
    assert_eq!(setup.send("alpha", OLD, &cancel(1)).await.status(), 202);
    setup.settle(1, 0).await;
    let answer = json_of(sent.await.unwrap()).await;
    assert_eq!(answer["error"]["code"], -32800);
    assert_eq!(answer["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn call_can_be_cancelled_after_its_connection_is_lost() {
    let setup = Setup::new();
    let sent = setup.begin("alpha", OLD, old_minute(1)).await;
    sent.abort();
    setup.send("alpha", OLD, &cancel(1)).await;
    setup.settle(1, 0).await;
}

#[tokio::test(start_paused = true)]
async fn cancellation_is_confined_to_caller_and_session() {
    let setup = Setup::new();
    let alpha = setup.open_session("alpha").await;
    let second = setup.open_session("alpha").await;
    let beta = setup.open_session("beta").await;
    let within = |session| [OLD[0], ("mcp-session-id", session)];
    let _sent = setup.begin("alpha", &within(&alpha), old_minute(1)).await;
    for (caller, headers) in [
        ("beta", &within(&beta)[..]),
        ("beta", &within(&alpha)[..]),
        ("beta", OLD),
        ("alpha", &within(&second)[..]),
        ("alpha", OLD),
    ] {
        setup.send(caller, headers, &cancel(1)).await;
        breathe().await;
        let stopped = setup.mock.stopped.load(Ordering::SeqCst);
        assert_eq!(stopped, 0, "by {caller} with {headers:?}");
    }
    setup.send("alpha", &within(&alpha), &cancel(2)).await;
    breathe().await;
    assert_eq!(setup.mock.stopped.load(Ordering::SeqCst), 0);
    setup.send("alpha", &within(&alpha), &cancel(1)).await;
    setup.settle(1, 0).await;
}

#[tokio::test(start_paused = true)]
async fn cancellation_without_a_session_is_confined_to_the_caller() {
    let setup = Setup::new();
    let _sent = setup.begin("alpha", OLD, old_minute(1)).await;
    setup.send("beta", OLD, &cancel(1)).await;
    breathe().await;
    assert_eq!(setup.mock.stopped.load(Ordering::SeqCst), 0);
    setup.send("alpha", OLD, &cancel(1)).await;
    setup.settle(1, 0).await;
}

#[tokio::test(start_paused = true)]
async fn slow_call_becomes_a_stream_with_keep_alive_comments() {
    let setup = Setup::new();
    // Half a period more than starting the stream and sending two comments take.
    let pause = KEEP_ALIVE * 3 + KEEP_ALIVE / 2;
    let arguments = json!({"to": 1, "pause_ms": pause.as_millis()});
    let params = json!({"name": "count", "arguments": arguments});
    let response = setup
        .send("alpha", OLD, &request(1, "tools/call", params))
        .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    let comments = text
        .split_terminator("\n\n")
        .take_while(|event| *event == ":");
    assert_eq!(comments.count(), 2, "{text}");
    assert!(text.contains("\"counted\":1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn slow_reader_slows_the_work_and_loses_no_progress() {
    let setup = Setup::new();
    let arguments = json!({"to": 500});
    let params = json!({"name": "count", "arguments": arguments, "_meta": {"progressToken": 1}});
    let response = setup
        .send("alpha", OLD, &request(1, "tools/call", params))
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(setup.mock.finished.load(Ordering::SeqCst), 0);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    let events: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("event: message\ndata: ").unwrap())
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(events.len(), 501);
    for (at, event) in events[..500].iter().enumerate() {
        assert_eq!(event["params"]["progress"], at + 1);
        assert_eq!(event["params"]["message"], format!("at {}", at + 1));
    }
    assert_eq!(events[500]["result"]["structuredContent"]["counted"], 500);
}

#[tokio::test(start_paused = true)]
async fn panicking_call_is_an_internal_error() {
    let setup = Setup::new();
    let arguments = json!({"to": common::PANIC});
    let params = json!({"name": "count", "arguments": arguments});
    let answer = json_of(
        setup
            .send("alpha", OLD, &request(1, "tools/call", params))
            .await,
    )
    .await;
    assert_eq!(answer["error"]["code"], -32603);
}

#[tokio::test]
async fn body_over_the_limit_is_rejected_with_413() {
    let setup = Setup::new();
    let body = Bytes::from(vec![b' '; ephyr_mcp::MAX_BODY + 1]);
    let response = setup
        .server
        .handle(&"alpha".to_owned(), &parts(OLD), &body)
        .await;
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn duplicate_version_header_is_rejected() {
    let setup = Setup::new();
    let twice = [OLD[0], OLD[0]];
    let response = setup
        .send("alpha", &twice, &request(1, "ping", json!({})))
        .await;
    assert_eq!(response.status(), 400);
    assert_eq!(json_of(response).await["error"]["code"], -32020);
}

#[tokio::test]
async fn batch_over_the_response_limit_starts_no_more_requests() {
    let setup = Setup::new();
    let read = |id| request(id, "resources/read", json!({"uri": "mock://long"}));
    let headers: Headers<'_> = &[("mcp-protocol-version", "2025-03-26")];
    let batch: Value = (0..32).map(read).collect();
    let answers = json_of(setup.send("alice", headers, &batch).await).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 32);
    let begun = answers.iter().filter(|answer| answer["result"].is_object());
    assert_eq!(begun.count(), 4, "300 kB each");
    for (id, refused) in (4..32).zip(&answers[4..]) {
        assert_eq!(refused["id"], id);
        let why = refused["error"]["message"].as_str().unwrap();
        assert!(why.contains("send this request separately"), "{why}");
    }
}
