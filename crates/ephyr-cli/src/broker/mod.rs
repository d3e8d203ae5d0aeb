//! Calls the broker; each request has its own connection.

mod events;
mod exchange;
mod message;
mod refusal;

use std::time::Duration;

use ephyr_api::v1::ApiProblem;
use ephyr_api::{DryRun, ToolArguments};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::failure::Failure;
use events::OnProgress;
use exchange::{Effect, send};
use message::Message;

/// The timeout for calls that do not run a command.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

const VERSION: &str = "2026-07-28";

/// A response of the broker.
pub(crate) struct Answer<T> {
    /// The response as received, for `--json`: it may have members that this version does not know.
    pub(crate) received: Value,
    /// The members that this version knows.
    pub(crate) value: T,
}

impl<T: DeserializeOwned> Answer<T> {
    fn read(received: Value) -> Result<Self, Failure> {
        let value = T::deserialize(&received).map_err(Failure::protocol)?;
        Ok(Self { received, value })
    }
}

/// Calls a tool.
///
/// # Errors
/// The broker is unreachable or refuses the call, or the tool fails.
pub(crate) fn call<A: ToolArguments>(
    endpoint: &Endpoint,
    arguments: &A,
    timeout: Duration,
) -> Result<Answer<A::Result>, Failure> {
    request(endpoint, arguments, timeout, None).and_then(Answer::read)
}

/// Calls a tool and passes on each progress message as it arrives.
///
/// # Errors
/// As [`call`], and errors of `on_progress`.
pub(crate) fn watch<A: ToolArguments>(
    endpoint: &Endpoint,
    arguments: &A,
    timeout: Duration,
    on_progress: OnProgress<'_>,
) -> Result<Answer<A::Result>, Failure> {
    request(endpoint, arguments, timeout, Some(on_progress)).and_then(Answer::read)
}

/// Calls a tool as a dry run.
///
/// # Errors
/// As [`call`].
pub(crate) fn preview<A: DryRun>(
    endpoint: &Endpoint,
    arguments: A,
    timeout: Duration,
) -> Result<Answer<A::Preview>, Failure> {
    request(endpoint, &arguments.dry_run(), timeout, None).and_then(Answer::read)
}

/// Calls a tool and returns the structured content of its result.
fn request<A: ToolArguments>(
    endpoint: &Endpoint,
    arguments: &A,
    timeout: Duration,
    on_progress: Option<OnProgress<'_>>,
) -> Result<Value, Failure> {
    let mut body = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": A::TOOL,
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
        .header("mcp-name", A::TOOL);
    let mut ignored = |_: &str| Ok(());
    let on_progress = match on_progress {
        Some(listener) => {
            body["params"]["_meta"]["progressToken"] = json!(1);
            listener
        }
        None => &mut ignored,
    };
    let effect = if arguments.may_act() {
        Effect::Possible
    } else {
        Effect::None
    };
    let body = body.to_string();
    let (status, body) = send(endpoint, request, body, timeout, effect, on_progress)?;
    let message: Message =
        serde_json::from_slice(&body).map_err(|error| refusal::unreadable(status, &error))?;
    if let Some(error) = &message.error {
        return Err(refusal::refused(status, message.code(), error.text()));
    }
    let result = message
        .result
        .ok_or_else(|| Failure::protocol("it has neither a result nor an error"))?;
    if result.is_error {
        return Err(refusal::tool_failed(result));
    }
    Ok(result.structured_content)
}

/// Gets a resource of the broker's HTTP API.
///
/// # Errors
/// The broker is unreachable or refuses the request.
pub(crate) fn get<T: DeserializeOwned>(
    endpoint: &Endpoint,
    path: &str,
) -> Result<Answer<T>, Failure> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(ACCEPT, "application/json");
    let mut ignored = |_: &str| Ok(());
    let (effect, body) = (Effect::None, String::new());
    let (status, body) = send(endpoint, request, body, TIMEOUT, effect, &mut ignored)?;
    let received: Value =
        serde_json::from_slice(&body).map_err(|error| refusal::unreadable(status, &error))?;
    match ApiProblem::deserialize(&received) {
        Ok(problem) => Err(refusal::refused(
            status,
            Some(&problem.code),
            &problem.error,
        )),
        Err(_) => Answer::read(received),
    }
}
