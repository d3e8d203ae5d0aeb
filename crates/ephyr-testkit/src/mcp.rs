//! A minimal MCP client: each call is one POST, as in version 2026-07-28
//! (<https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>).

use ephyr_api::ToolArguments;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::http::{Connection, Endpoint, Response};

/// The protocol version of this client.
pub const VERSION: &str = "2026-07-28";

/// A client, identified by the user id of its connection or by a bearer credential.
pub struct Mcp {
    endpoint: Endpoint,
    headers: Vec<(String, String)>,
    connection: Option<Connection>,
    next_id: u64,
}

/// The response to a JSON-RPC request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `result`, if the request succeeded.
    pub result: Option<Value>,
    /// The JSON-RPC error, if the request failed.
    pub error: Option<Value>,
    /// Messages before the response on its event stream, such as progress.
    pub notifications: Vec<Value>,
}

/// The result of a tool call.
#[derive(Debug, Clone)]
pub struct ToolAnswer {
    /// Whether the tool failed or refused (`isError`).
    pub is_error: bool,
    /// The structured content.
    pub value: Value,
    /// The text content.
    pub text: String,
    /// The machine-readable details of a failure, such as `step` and `reason`.
    pub details: Value,
}

impl Answer {
    /// Returns the result.
    ///
    /// # Errors
    /// The response is a JSON-RPC error.
    pub fn ok(self) -> Result<Value> {
        let Self {
            status,
            result,
            error,
            ..
        } = self;
        result.ok_or_else(|| Error::new(format!("HTTP {status}: {}", error.unwrap_or_default())))
    }

    /// The code of the JSON-RPC error, if any.
    #[must_use]
    pub fn code(&self) -> Option<i64> {
        self.error.as_ref()?.get("code")?.as_i64()
    }

    /// The message of the JSON-RPC error; empty if there is no error.
    #[must_use]
    pub fn message(&self) -> &str {
        self.error
            .as_ref()
            .and_then(|error| error["message"].as_str())
            .unwrap_or_default()
    }
}

impl Mcp {
    /// Creates a client for this endpoint, with an optional bearer credential.
    #[must_use]
    pub fn new(endpoint: Endpoint, bearer: Option<&str>) -> Self {
        let authorization = bearer.map(|text| ("authorization".into(), format!("Bearer {text}")));
        Self {
            endpoint,
            headers: authorization.into_iter().collect(),
            connection: None,
            next_id: 1,
        }
    }

    /// Sets a header on every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Calls a tool. A refusal by the tool is an `Ok` with `is_error` set.
    ///
    /// # Errors
    /// The call itself failed: no connection, no authority, or invalid arguments.
    pub fn tool(&mut self, name: &str, arguments: Value) -> Result<ToolAnswer> {
        let result = self.call(name, arguments)?.ok()?;
        let text = result["content"][0]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok(ToolAnswer {
            is_error: result["isError"].as_bool().unwrap_or(false),
            value: result["structuredContent"].clone(),
            text,
            details: result["_meta"]["ephyr/error"].clone(),
        })
    }

    /// Calls a tool with typed arguments and returns its typed result.
    ///
    /// # Errors
    /// The call failed, the tool refused, or the result has another type.
    pub fn invoke<A: ToolArguments>(&mut self, arguments: &A) -> Result<A::Result> {
        let arguments = serde_json::to_value(arguments)
            .map_err(|error| Error::new(format!("arguments of {}: {error}", A::TOOL)))?;
        let answer = self.tool(A::TOOL, arguments)?;
        if answer.is_error {
            return Err(Error::new(format!("{} failed: {}", A::TOOL, answer.text)));
        }
        A::Result::deserialize(&answer.value)
            .map_err(|error| Error::new(format!("result of {}: {error}", A::TOOL)))
    }

    /// Calls a tool and returns the whole response.
    ///
    /// # Errors
    /// No response was received.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers write `json!` in place"
    )]
    pub fn call(&mut self, name: &str, arguments: Value) -> Result<Answer> {
        self.request("tools/call", json!({"name": name, "arguments": arguments}))
    }

    /// Sends a request with any method.
    ///
    /// # Errors
    /// No response was received, or it is not valid JSON-RPC.
    pub fn request(&mut self, method: &str, mut params: Value) -> Result<Answer> {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = VERSION.into();
        params["_meta"]["io.modelcontextprotocol/clientInfo"] =
            json!({"name": "ephyr-testkit", "version": env!("CARGO_PKG_VERSION")});
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let name = params["name"]
            .as_str()
            .or(params["uri"].as_str())
            .map(str::to_owned);
        let id = self.next_id;
        self.next_id += 1;
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", VERSION),
            ("mcp-method", method),
        ];
        headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
        let response = self.post(&headers, body.to_string().as_bytes())?;
        answer(&response, id)
    }

    /// Posts a raw body, with these headers in addition to the client's own.
    ///
    /// # Errors
    /// No response was received.
    pub fn post(&mut self, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
        let mut all: Vec<(&str, &str)> = headers.to_vec();
        all.extend(
            self.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        if let Some(mut connection) = self.connection.take()
            && let Ok(response) = connection.request("POST", "/mcp", &all, body)
        {
            self.keep(connection, &response);
            return Ok(response);
        }
        // The server may have closed an idle connection: only a failure on a new one counts.
        let mut connection = self.endpoint.connect()?;
        let response = connection.request("POST", "/mcp", &all, body)?;
        self.keep(connection, &response);
        Ok(response)
    }

    fn keep(&mut self, connection: Connection, response: &Response) {
        let framed = response.header("content-length").is_some()
            || response.header("transfer-encoding").is_some();
        if framed && response.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
    }
}

/// Finds the response to request `id`: the body itself, or the last event of a stream.
fn answer(response: &Response, id: u64) -> Result<Answer> {
    let status = response.status;
    let stream = response
        .header("content-type")
        .is_some_and(|t| t.starts_with("text/event-stream"));
    let messages: Vec<Value> = if stream {
        events(&response.text())?
    } else {
        vec![response.json()?]
    };
    let mut notifications = Vec::new();
    for mut message in messages {
        let matches = message["id"] == json!(id) || message.get("error").is_some();
        if !matches {
            notifications.push(message);
            continue;
        }
        let mut part = |name: &str| message.get_mut(name).map(Value::take);
        let (result, error) = (part("result"), part("error"));
        return Ok(Answer {
            status,
            result,
            error,
            notifications,
        });
    }
    Err(Error::new(format!(
        "HTTP {status} without a response to request {id}: {}",
        response.text()
    )))
}

/// The JSON of each `data:` field of an event stream.
fn events(text: &str) -> Result<Vec<Value>> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(str::trim)
        .filter(|data| !data.is_empty())
        .map(|data| {
            serde_json::from_str(data).map_err(|e| Error::new(format!("event {data:?}: {e}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(content_type: &str, body: &str) -> Response {
        Response {
            status: 200,
            headers: vec![("content-type".into(), content_type.into())],
            body: body.into(),
        }
    }

    #[test]
    fn response_is_found_after_stream_notifications() {
        let text = ": keep-alive\n\nevent: message\ndata: {\"method\":\"notifications/progress\"}\n\n\
                    data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"ok\":true}}\n\n";
        let found = answer(&response("text/event-stream", text), 7).unwrap();
        assert_eq!(found.notifications.len(), 1);
        assert_eq!(found.ok().unwrap(), json!({"ok": true}));
    }

    #[test]
    fn response_to_another_request_is_rejected() {
        let text = r#"{"jsonrpc":"2.0","id":8,"result":{}}"#;
        assert!(answer(&response("application/json", text), 7).is_err());
    }
}
