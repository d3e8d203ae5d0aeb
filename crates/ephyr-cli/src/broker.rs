//! Talking to the broker: one request on one connection.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ephyr_mcp::bridge::is_not_http;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::endpoint::{Endpoint, Place};
use crate::events::{Events, OnProgress};
use crate::failure::{BROKE_OFF, DATA, DENIED, Failure, PROTOCOL, TEMPORARY, UNAVAILABLE};

const VERSION: &str = "2026-07-28";

/// The possible effect of a request that was sent and not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// None: it only reads.
    None,
    /// It may have taken effect.
    Possible,
}

impl Effect {
    /// Returns the effect of calling a tool.
    fn of(tool: &str, arguments: &Value) -> Self {
        let reads = ["list_targets", "list_certs", "task_list", "task_info"];
        if reads.contains(&tool) || arguments["dry_run"] == true {
            Self::None
        } else {
            Self::Possible
        }
    }

    /// Returns the failure of a request without an answer.
    fn failure(self, code: &str, text: &str) -> Failure {
        match self {
            Self::None => Failure::new(UNAVAILABLE, code, format!("{text}; nothing was changed")),
            Self::Possible => {
                let text = format!("{text}; the call may have taken effect");
                Failure::new(BROKE_OFF, code, text)
            }
        }
    }
}

/// What a tool answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult {
    #[serde(default)]
    content: Vec<Content>,
    #[serde(default)]
    structured_content: Value,
    #[serde(default)]
    is_error: bool,
    #[serde(default, rename = "_meta")]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    /// Particulars of a failure, for programs.
    #[serde(default, rename = "ephyr/error")]
    error: Value,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    text: String,
}

/// Calls a tool and gives its structured content.
///
/// # Errors
/// The broker is not there, refuses, or the tool did.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write `json!` in place"
)]
pub(crate) fn call(
    endpoint: &Endpoint,
    tool: &str,
    arguments: Value,
    patience: Duration,
) -> Result<Value, Failure> {
    request(endpoint, tool, &arguments, patience, None)
}

/// As [`call`], and passes on each progress message as it arrives.
///
/// # Errors
/// As [`call`], and errors of the listener.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write `json!` in place"
)]
pub(crate) fn watch(
    endpoint: &Endpoint,
    tool: &str,
    arguments: Value,
    patience: Duration,
    on_progress: OnProgress<'_>,
) -> Result<Value, Failure> {
    request(endpoint, tool, &arguments, patience, Some(on_progress))
}

fn request(
    endpoint: &Endpoint,
    tool: &str,
    arguments: &Value,
    patience: Duration,
    on_progress: Option<OnProgress<'_>>,
) -> Result<Value, Failure> {
    let effect = Effect::of(tool, arguments);
    let mut body = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": VERSION,
                "io.modelcontextprotocol/clientInfo":
                    {"name": "ephyr", "version": env!("CARGO_PKG_VERSION")},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri("/mcp")
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", VERSION)
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool);
    let mut ignored = |_: &str| Ok(());
    let on_progress = match on_progress {
        Some(listener) => {
            body["params"]["_meta"]["progressToken"] = json!(1);
            listener
        }
        None => &mut ignored,
    };
    let (head, body) = send(
        endpoint,
        request,
        body.to_string(),
        patience,
        effect,
        on_progress,
    )?;
    let message = match body {
        Body::Answer(message) => message,
        Body::Whole(body) => parse(&body).map_err(|failure| refused(head.status(), failure))?,
    };
    if let Some(error) = message.get("error") {
        return Err(refusal(head.status(), &message, error));
    }
    let result: ToolResult =
        serde_json::from_value(message["result"].clone()).map_err(Failure::protocol)?;
    if result.is_error {
        return Err(tool_failure(result));
    }
    Ok(result.structured_content)
}

/// Asks the broker's plain API.
///
/// # Errors
/// The broker is not there, or refuses.
pub(crate) fn get(endpoint: &Endpoint, path: &str) -> Result<Value, Failure> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(ACCEPT, "application/json");
    let patience = Duration::from_secs(30);
    let mut ignored = |_: &str| Ok(());
    let (head, body) = send(
        endpoint,
        request,
        String::new(),
        patience,
        Effect::None,
        &mut ignored,
    )?;
    let value = match body {
        Body::Answer(value) => value,
        Body::Whole(body) => parse(&body).map_err(|failure| refused(head.status(), failure))?,
    };
    match value.get("error") {
        Some(error) => Err(refusal(head.status(), &value, error)),
        None => Ok(value),
    }
}

/// The body of a response.
enum Body {
    Whole(Bytes),
    /// The last of several events, which is the answer.
    Answer(Value),
}

fn send(
    endpoint: &Endpoint,
    mut request: http::request::Builder,
    body: String,
    patience: Duration,
    effect: Effect,
    on_progress: OnProgress<'_>,
) -> Result<(Response<()>, Body), Failure> {
    let host = match &endpoint.place {
        Place::Socket(_) => "localhost".to_owned(),
        Place::Http(authority) => authority.to_string(),
    };
    request = request.header(HOST, host);
    if let Some(authorization) = &endpoint.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let (method, path) = (request.method_ref(), request.uri_ref());
    let (method, path) = (
        method.map_or("GET", Method::as_str).to_owned(),
        path.map_or("/", http::Uri::path).to_owned(),
    );
    if let Some(proof) = endpoint.proof(&method, &path, body.as_bytes())? {
        request = request.header(ephyr_token::proof::HEADER, proof);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(Failure::protocol)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(UNAVAILABLE, "runtime", format!("starting: {error}")))?;
    let lost = |error: hyper::Error| lost(&endpoint.place, effect, &error);
    let exchange = async {
        match &endpoint.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|e| no_socket(path, &e))?;
                exchange(stream, request, on_progress, lost).await
            }
            Place::Http(authority) => {
                let port = authority.port_u16().unwrap_or(80);
                let host = authority
                    .host()
                    .trim_start_matches('[')
                    .trim_end_matches(']');
                let stream = TcpStream::connect((host, port)).await.map_err(|error| {
                    let text = format!(
                        "no broker at http://{authority}: {error}; is ephyr-broker running?"
                    );
                    Failure::new(UNAVAILABLE, "no_broker", text)
                })?;
                exchange(stream, request, on_progress, lost).await
            }
        }
    };
    runtime.block_on(async {
        tokio::time::timeout(patience, exchange)
            .await
            .unwrap_or_else(|_| {
                let (place, seconds) = (&endpoint.place, patience.as_secs());
                let text = format!("{place} has not answered within {seconds} s");
                Err(effect.failure("no_answer", &text))
            })
    })
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    on_progress: OnProgress<'_>,
    lost: impl Fn(hyper::Error) -> Failure,
) -> Result<(Response<()>, Body), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(&lost)?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(&lost)?;
    let (head, mut body) = response.into_parts();
    let is_stream = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    let body = if is_stream {
        let mut events = Events::new(on_progress);
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame.map_err(&lost)?.into_data() {
                events.take(&piece)?;
            }
        }
        Body::Answer(events.answer()?)
    } else {
        Body::Whole(body.collect().await.map_err(&lost)?.to_bytes())
    };
    driver.abort();
    Ok((Response::from_parts(head, ()), body))
}

/// Returns the failure of a connection without an answer: the server is not the broker, or the connection
/// broke.
fn lost(place: &Place, effect: Effect, error: &hyper::Error) -> Failure {
    if is_not_http(error) {
        let text = format!(
            "{place} is not the broker: the server there does not speak HTTP ({error}); set --url or \
             EPHYR_MCP_URL to the broker's address (default http://127.0.0.1:8554)"
        );
        return Failure::new(PROTOCOL, "not_the_broker", text);
    }
    // hyper returns the request, so it was never sent.
    let effect = if error.is_canceled() {
        Effect::None
    } else {
        effect
    };
    effect.failure(
        "broken",
        &format!("the connection to the broker broke: {error}"),
    )
}

/// A socket that cannot be used, and what to do about it.
fn no_socket(path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "is ephyr-broker running? --socket or EPHYR_SOCKET names another socket"
        }
        io::ErrorKind::PermissionDenied => {
            "only members of the socket's group (ephyr-agents) may connect: an operator adds you to it"
        }
        io::ErrorKind::ConnectionRefused => "nobody serves it: ephyr-broker has stopped",
        _ => "is ephyr-broker running?",
    };
    let text = format!("no broker at {}: {error}; {advice}", path.display());
    Failure::new(UNAVAILABLE, "no_broker", text)
}

/// A tool's own failure: a denial, or something on the way to the target.
fn tool_failure(result: ToolResult) -> Failure {
    let details = result.meta.error;
    let text = result
        .content
        .into_iter()
        .map(|content| content.text)
        .collect::<Vec<_>>()
        .join("\n");
    let word = |name: &str| details[name].as_str().map(str::to_owned);
    let code = word("reason")
        .or_else(|| word("code"))
        .unwrap_or_else(|| "failed".to_owned());
    let exit = if details.get("step").is_some() {
        DENIED
    } else if details["started"] == true {
        BROKE_OFF
    } else {
        status_of(&code)
    };
    Failure::new(exit, &code, text).with_details(details)
}

/// The exit status that fits a reason for which nothing was done.
fn status_of(reason: &str) -> u8 {
    match reason {
        "bad_arguments" | "ttl_out_of_range" | "task_not_found" => DATA,
        "token_makes_no_root"
        | "token_required"
        | "not_your_task"
        | "token_narrowed"
        | "not_bound"
        | "already_bound"
        | "holder_required"
        | "proof_invalid"
        | "mint_refused"
        | "agent_unknown"
        | "delegated_only"
        | "delegation_not_accepted"
        | "task_revoked"
        | "task_ended" => DENIED,
        "audit_unavailable"
        | "state_unavailable"
        | "journal_unavailable"
        | "signer_unavailable"
        | "no_epoch"
        | "too_many_tasks"
        | "rate_limited"
        | "policy_mismatch" => TEMPORARY,
        _ => UNAVAILABLE,
    }
}

/// The broker refused the call as such.
fn refusal(status: StatusCode, message: &Value, error: &Value) -> Failure {
    let text = error
        .as_str()
        .or(error["message"].as_str())
        .unwrap_or_default();
    let code = message["code"]
        .as_str()
        .or(error["data"]["code"].as_str())
        .unwrap_or("refused");
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => DENIED,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => TEMPORARY,
        _ => DATA,
    };
    Failure::new(exit, code, format!("the broker refuses: {text}"))
}

/// An answer that is not even JSON: what counts is its status.
fn refused(status: StatusCode, failure: Failure) -> Failure {
    if status.is_success() {
        failure
    } else {
        Failure::protocol(format!("HTTP status {status}"))
    }
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(Failure::protocol)
}
