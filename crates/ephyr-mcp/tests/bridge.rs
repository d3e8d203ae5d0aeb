//! The stdio bridge with a real server over HTTP, connected in memory.

#![cfg(test)]

mod common;

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::Mock;
use ephyr_mcp::bridge::{self, Connect, Options};
use ephyr_mcp::{MAX_BODY, Server, SessionKey};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, duplex,
};
use tokio::task::JoinHandle;

/// The HTTP server that the bridge connects to.
struct TestServer {
    mock: Arc<Mock>,
    state: Mutex<State>,
    connections: AtomicUsize,
}

struct State {
    mode: ServerMode,
    /// The head and body of each request.
    seen: Vec<(HeaderMap, Bytes)>,
    served: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
enum ServerMode {
    Server(Arc<Server<Mock>>),
    /// Refuses connections.
    Unreachable,
    /// Responds with this status and body.
    Fixed(StatusCode, &'static str),
    /// Accepts the request and does not respond.
    Hangs,
    /// Sends an SSH banner and does not speak HTTP.
    Banner,
}

#[derive(Clone)]
struct TestConnector(Arc<TestServer>);

impl Connect for TestConnector {
    type Io = DuplexStream;

    async fn connect(&self) -> io::Result<DuplexStream> {
        let server = Arc::clone(&self.0);
        let mut state = self.0.state.lock().unwrap();
        if matches!(state.mode, ServerMode::Unreachable) {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        }
        server.connections.fetch_add(1, Ordering::SeqCst);
        let (near, mut far) = duplex(64 * 1024);
        if matches!(state.mode, ServerMode::Banner) {
            state.served.push(tokio::spawn(async move {
                far.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
                let mut asked = Vec::new();
                far.read_to_end(&mut asked).await.unwrap();
            }));
            return Ok(near);
        }
        let service = service_fn(move |request| Arc::clone(&server).serve(request));
        let served =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
        state.served.push(tokio::spawn(async move {
            served.await.ok();
        }));
        Ok(near)
    }
}

type Reply = Response<Either<ephyr_mcp::Body, Full<Bytes>>>;

impl TestServer {
    fn new() -> Arc<Self> {
        let server = Arc::new(Self {
            mock: Arc::new(Mock::new().unwrap()),
            state: Mutex::new(State {
                mode: ServerMode::Unreachable,
                seen: Vec::new(),
                served: Vec::new(),
            }),
            connections: AtomicUsize::new(0),
        });
        server.restart(1);
        server
    }

    /// Closes every connection and starts a server with another session key.
    fn restart(&self, key: u8) {
        let server = self.mock.server(SessionKey::from_bytes([key; 32])).unwrap();
        self.set_mode(ServerMode::Server(Arc::new(server)));
    }

    fn set_mode(&self, mode: ServerMode) {
        let mut state = self.state.lock().unwrap();
        state.mode = mode;
        state.served.drain(..).for_each(|served| served.abort());
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Reply, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mode = {
            let mut state = self.state.lock().unwrap();
            state.seen.push((parts.headers.clone(), body.clone()));
            state.mode.clone()
        };
        Ok(match mode {
            ServerMode::Server(server) => {
                let response = server.handle(&"alpha".to_owned(), &parts, &body).await;
                response.map(Either::Left)
            }
            ServerMode::Fixed(status, text) => {
                let mut response = Response::new(Either::Right(Full::from(text)));
                *response.status_mut() = status;
                response
            }
            ServerMode::Hangs => std::future::pending().await,
            ServerMode::Unreachable | ServerMode::Banner => {
                Response::new(Either::Right(Full::default()))
            }
        })
    }

    /// The number of requests that the server received.
    fn requests(&self) -> usize {
        self.state.lock().unwrap().seen.len()
    }

    /// The methods that the server received, in order.
    fn methods(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let bodies = state
            .seen
            .iter()
            .map(|(_, body)| serde_json::from_slice(body).unwrap());
        bodies
            .map(|body: Value| body["method"].as_str().unwrap().to_owned())
            .collect()
    }
}

struct Client {
    to: DuplexStream,
    from: Lines<BufReader<DuplexStream>>,
    bridge: JoinHandle<io::Result<()>>,
}

impl Client {
    fn of(server: &Arc<TestServer>, options: Options) -> Self {
        Self::until(server, options, std::future::pending())
    }

    /// A client whose exit is signalled by `gone`.
    fn until(
        server: &Arc<TestServer>,
        options: Options,
        gone: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (to, input) = duplex(64 * 1024);
        let (output, from) = duplex(64 * 1024);
        let connector = TestConnector(Arc::clone(server));
        let bridge = tokio::spawn(bridge::run_until(connector, options, input, output, gone));
        Self {
            to,
            from: BufReader::new(from).lines(),
            bridge,
        }
    }

    async fn say(&mut self, message: &Value) {
        self.to
            .write_all(format!("{message}\n").as_bytes())
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = self.from.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        self.hear().await
    }

    async fn shake_hands(&mut self) {
        let answer = self.ask(&initialize()).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }

    /// Ends the input and returns the remaining output.
    async fn end(mut self) -> Vec<Value> {
        drop(self.to);
        let mut rest = Vec::new();
        while let Some(line) = self.from.next_line().await.unwrap() {
            rest.push(serde_json::from_str(&line).unwrap());
        }
        self.bridge.await.unwrap().unwrap();
        rest
    }
}

fn options() -> Options {
    Options {
        patience: Duration::ZERO,
        ..Options::local()
    }
}

fn initialize() -> Value {
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"}});
    request(0, "initialize", params)
}

fn request(id: u64, method: &str, params: Value) -> Value {
    let mut request = json!({"jsonrpc": "2.0", "id": id, "method": method});
    request["params"] = params;
    request
}

fn count(id: u64, to: u64, pause_ms: u64) -> Value {
    let arguments = json!({"to": to, "pause_ms": pause_ms});
    request(
        id,
        "tools/call",
        json!({"name": "count", "arguments": arguments}),
    )
}

fn modern(mut message: Value) -> Value {
    message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    message
}

fn cancel(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
}

/// Waits for a condition; fails after a minute.
async fn until(what: &str, reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "timed out: {what}");
}

async fn settle(server: &TestServer, stopped: usize) {
    let reached = || server.mock.stopped.load(Ordering::SeqCst) == stopped;
    until("the end of the call", reached).await;
}

/// Waits until the server has received this number of calls.
async fn begun(server: &TestServer, calls: usize) {
    let called = || {
        server
            .methods()
            .into_iter()
            .filter(|method| method == "tools/call")
            .count()
    };
    until("the call", || called() == calls).await;
}

#[tokio::test]
async fn legacy_client_gets_its_session_and_version_headers() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    client.shake_hands().await;
    let tools = client.ask(&request(1, "tools/list", json!({}))).await;
    assert_eq!(tools["result"]["tools"][0]["name"], "echo");
    let mut call = count(2, 2, 0);
    call["params"]["_meta"] = json!({"progressToken": "p"});
    client.say(&call).await;
    for message in ["at 1", "at 2"] {
        assert_eq!(client.hear().await["params"]["message"], message);
    }
    assert_eq!(
        client.hear().await["result"]["structuredContent"]["counted"],
        2
    );
    assert_eq!(client.end().await, Vec::<Value>::new());
    let state = server.state.lock().unwrap();
    for (headers, _) in &state.seen[1..] {
        assert_eq!(headers["mcp-protocol-version"], "2025-06-18");
        assert!(headers.contains_key("mcp-session-id"));
    }
}

#[tokio::test]
async fn modern_client_gets_headers_that_repeat_its_body() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    let found = client
        .ask(&modern(request(1, "server/discover", json!({}))))
        .await;
    assert_eq!(found["result"]["resultType"], "complete");
    let read = request(2, "resources/read", json!({"uri": "mock://hällo"}));
    let read = client.ask(&modern(read)).await;
    assert_eq!(read["error"]["code"], -32602);
    let counted = client.ask(&modern(count(3, 1, 0))).await;
    assert_eq!(counted["result"]["structuredContent"]["counted"], 1);
    let unknown = client.ask(&modern(request(4, "ping", json!({})))).await;
    assert_eq!(unknown["error"]["code"], -32601);
    client.end().await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn requests_run_concurrently() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    client.shake_hands().await;
    client.say(&count(1, 1, 60_000)).await;
    assert_eq!(client.ask(&request(2, "ping", json!({}))).await["id"], 2);
    begun(&server, 1).await;
    client.say(&cancel(1)).await;
    settle(&server, 1).await;
    assert_eq!(client.end().await, Vec::<Value>::new());
}

#[tokio::test]
async fn modern_cancellation_closes_the_connection_and_is_not_sent() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    client.say(&modern(count(1, 1, 60_000))).await;
    client.ask(&modern(count(2, 1, 0))).await;
    begun(&server, 2).await;
    client.say(&cancel(1)).await;
    settle(&server, 1).await;
    assert_eq!(client.end().await, Vec::<Value>::new());
    assert_eq!(server.methods(), ["tools/call", "tools/call"]);
}

#[tokio::test]
async fn handshake_is_repeated_after_a_server_restart() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    client.shake_hands().await;
    client.ask(&count(1, 1, 0)).await;
    server.restart(2);
    for id in 2..4 {
        let counted = client.ask(&count(id, 1, 0)).await;
        assert_eq!(counted["result"]["structuredContent"]["counted"], 1);
        assert_eq!(counted["id"], id);
    }
    client.end().await;
    let handshakes = server
        .methods()
        .into_iter()
        .filter(|method| method == "initialize");
    assert_eq!(handshakes.count(), 2);
}

#[tokio::test]
async fn unreachable_server_is_retried() {
    let server = TestServer::new();
    let patience = Duration::from_secs(3600);
    let mut client = Client::of(
        &server,
        Options {
            patience,
            ..options()
        },
    );
    client.shake_hands().await;
    server.set_mode(ServerMode::Unreachable);
    client.say(&request(1, "ping", json!({}))).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.restart(1);
    assert_eq!(client.hear().await["result"], json!({}));
    client.end().await;
}

#[tokio::test]
async fn unreachable_server_fails_each_request() {
    let server = TestServer::new();
    server.set_mode(ServerMode::Unreachable);
    let mut client = Client::of(&server, options());
    let refused = client.ask(&initialize()).await;
    assert_eq!(refused["id"], 0);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the server cannot be reached"),
        "{message}"
    );
    assert_eq!(
        client.ask(&request(1, "ping", json!({}))).await["error"]["code"],
        -32603
    );
    client.end().await;
}

#[tokio::test]
async fn connection_lost_after_the_request_may_have_taken_effect() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    client.say(&count(1, 1, 60_000)).await;
    begun(&server, 1).await;
    server.restart(1);
    let broken = client.hear().await;
    let message = broken["error"]["message"].as_str().unwrap();
    assert!(message.contains("may have taken effect"), "{message}");
    assert_eq!(
        server.state.lock().unwrap().seen.len(),
        1,
        "it was sent again"
    );
    client.end().await;
}

#[tokio::test]
async fn responses_that_are_not_json_rpc_are_not_forwarded() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    for (status, text) in [
        (StatusCode::BAD_GATEWAY, "<html>\n</html>"),
        (StatusCode::OK, ""),
        (StatusCode::OK, "5"),
        (StatusCode::OK, "{\"jsonrpc\":"),
    ] {
        server.set_mode(ServerMode::Fixed(status, text));
        client
            .say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        let answer = client.ask(&request(1, "ping", json!({}))).await;
        assert_eq!(answer["id"], 1);
        assert_eq!(answer["error"]["code"], -32603, "{text}");
    }
    // An error without id gets the id of its request.
    let unplaced = "{\"jsonrpc\":\"2.0\",\n\"error\":{\"code\":-32600,\"message\":\"no\"}}";
    server.set_mode(ServerMode::Fixed(StatusCode::UNAUTHORIZED, unplaced));
    let answer = client.ask(&request(7, "ping", json!({}))).await;
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!(7), &json!(-32600))
    );
    client
        .say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    assert_eq!(client.end().await, Vec::<Value>::new());
}

#[tokio::test]
async fn invalid_lines_are_answered_by_the_bridge() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    client.to.write_all(b"\n  \nnot json\n").await.unwrap();
    assert_eq!(client.hear().await["error"]["code"], -32700);
    client
        .to
        .write_all(&vec![b'x'; MAX_BODY + 1])
        .await
        .unwrap();
    client.to.write_all(b"\n").await.unwrap();
    assert_eq!(client.hear().await["error"]["code"], -32600);
    assert_eq!(
        client.ask(&request(1, "ping", json!([]))).await["error"]["code"],
        -32602
    );
    assert_eq!(
        client.ask(&request(2, "ping", json!({}))).await["result"],
        json!({})
    );
    client.end().await;
    assert_eq!(server.methods(), ["ping"]);
}

#[tokio::test]
async fn batch_is_forwarded_unchanged() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    let ping = request(1, "ping", json!({}));
    let answers = client
        .ask(&json!([ping, {"jsonrpc": "2.0", "method": "notifications/x"}]))
        .await;
    assert_eq!(answers, json!([{"jsonrpc": "2.0", "id": 1, "result": {}}]));
    client.end().await;
}

#[tokio::test]
async fn end_of_input_lets_running_requests_finish() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    client.say(&modern(count(1, 3, 10))).await;
    client
        .say(&modern(request(2, "tools/list", json!({}))))
        .await;
    let mut ids: Vec<_> = client
        .end()
        .await
        .into_iter()
        .map(|answer| answer["id"].clone())
        .collect();
    ids.sort_by_key(Value::as_u64);
    assert_eq!(ids, [1, 2]);
}

#[tokio::test]
async fn end_of_input_cancels_requests_after_the_drain_period() {
    let server = TestServer::new();
    let drain = Duration::from_millis(20);
    let mut client = Client::of(&server, Options { drain, ..options() });
    client.say(&modern(count(1, 1, 60_000))).await;
    client.ask(&modern(count(2, 1, 0))).await;
    assert_eq!(client.end().await, Vec::<Value>::new());
    settle(&server, 1).await;
}

#[tokio::test]
async fn legacy_requests_left_at_the_end_are_cancelled() {
    for batched in [false, true] {
        let server = TestServer::new();
        let drain = Duration::from_millis(20);
        let mut client = Client::of(&server, Options { drain, ..options() });
        let call = count(1, 1, 60_000);
        if batched {
            client.say(&json!([call])).await;
            until("the batch", || server.requests() == 1).await;
        } else {
            client.shake_hands().await;
            client.say(&call).await;
            begun(&server, 1).await;
        }
        assert_eq!(client.end().await, Vec::<Value>::new());
        settle(&server, 1).await;
    }
}

#[tokio::test]
async fn exited_client_gets_no_drain_period() {
    for modern_call in [false, true] {
        let server = TestServer::new();
        let drain = Duration::from_secs(3600);
        let (gone, told) = tokio::sync::oneshot::channel();
        let told = async { drop(told.await) };
        let mut client = Client::until(&server, Options { drain, ..options() }, told);
        client.shake_hands().await;
        let call = count(1, 1, 60_000);
        client
            .say(&if modern_call { modern(call) } else { call })
            .await;
        begun(&server, 1).await;
        gone.send(()).unwrap();
        client.bridge.await.unwrap().unwrap();
        settle(&server, 1).await;
    }
}

#[tokio::test]
async fn only_an_interrupted_call_may_have_taken_effect() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    client.shake_hands().await;
    server.set_mode(ServerMode::Hangs);
    for (asked, may) in [
        (count(1, 1, 0), true),
        (request(2, "tools/list", json!({})), false),
    ] {
        let before = server.requests();
        client.say(&asked).await;
        until("the request", || server.requests() > before).await;
        server.set_mode(ServerMode::Hangs);
        let broken = client.hear().await;
        let message = broken["error"]["message"].as_str().unwrap();
        assert_eq!(message.contains("may have taken effect"), may, "{message}");
    }
    client.end().await;
}

#[tokio::test]
async fn server_without_http_is_reported_without_effects() {
    let server = TestServer::new();
    server.set_mode(ServerMode::Banner);
    let mut client = Client::of(&server, options());
    let refused = client.ask(&count(1, 1, 0)).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("does not speak HTTP"), "{message}");
    assert!(!message.contains("may have taken effect"), "{message}");
    client.end().await;
}

#[tokio::test]
async fn bridge_ends_when_its_output_is_closed() {
    let server = TestServer::new();
    let mut client = Client::of(&server, options());
    client.ask(&modern(count(1, 1, 0))).await;
    let (unused, _) = duplex(1);
    client.from = BufReader::new(unused).lines();
    client.say(&modern(count(2, 1, 0))).await;
    client.bridge.await.unwrap().unwrap();
}

#[tokio::test]
async fn each_request_has_the_headers_computed_from_its_body() {
    let server = TestServer::new();
    let headers = |body: &[u8]| match body.len() {
        0..200 => Ok(HeaderMap::from_iter([(
            http::HeaderName::from_static("ephyr-proof"),
            HeaderValue::from(body.len()),
        )])),
        _ => Err("no proof can be made".to_owned()),
    };
    let mut client = Client::of(
        &server,
        Options {
            headers: Box::new(headers),
            ..options()
        },
    );
    client.ask(&request(1, "ping", json!({}))).await;
    let refused = client
        .ask(&request(2, "ping", json!({"pad": "x".repeat(200)})))
        .await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert_eq!(message, "the request cannot be sent: no proof can be made");
    client.end().await;
    let state = server.state.lock().unwrap();
    assert_eq!(state.seen.len(), 1);
    for (headers, body) in &state.seen {
        assert_eq!(headers["ephyr-proof"], body.len().to_string());
    }
}
