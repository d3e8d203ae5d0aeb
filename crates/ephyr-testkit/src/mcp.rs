//! An MCP client that is as plain as the protocol allows: each call is a POST of its own, as in
//! version 2026-07-28 (<https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>).

use ephyr_api::ToolArguments;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::http::{Connection, Endpoint, Response};

/// The protocol version spoken here.
pub const VERSION: &str = "2026-07-28";

/// A client with an identity: that of its connection, or a bearer credential.
pub struct Mcp {
    endpoint: Endpoint,
    headers: Vec<(String, String)>,
    connection: Option<Connection>,
    next_id: u64,
}

/// What the server answered to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `result`, if the request was understood and done.
    pub result: Option<Value>,
    /// The JSON-RPC error otherwise.
    pub error: Option<Value>,
    /// What came before the answer on its stream: progress and the like.
    pub notifications: Vec<Value>,
}

/// What a tool answered.
#[derive(Debug, Clone)]
pub struct ToolAnswer {
    /// Whether the tool says that it failed or refused.
    pub is_error: bool,
    /// The structured content.
    pub value: Value,
    /// The text content.
    pub text: String,
    /// Particulars of a failure, for programs: step, reason and the like.
    pub details: Value,
}

impl Answer {
    /// The result.
    ///
    /// # Errors
    /// The server answered with an error.
    pub fn ok(self) -> Result<Value> {
        let Self {
            status,
            result,
            error,
            ..
        } = self;
        result.ok_or_else(|| Error::new(format!("HTTP {status}: {}", error.unwrap_or_default())))
    }

    /// The code of the JSON-RPC error, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<i64> {
        self.error.as_ref()?.get("code")?.as_i64()
    }

    /// The error's message, empty if there is none.
    #[must_use]
    pub fn message(&self) -> &str {
        self.error
            .as_ref()
            .and_then(|error| error["message"].as_str())
            .unwrap_or_default()
    }
}

impl Mcp {
    /// A client at this endpoint, with a bearer credential where it needs one.
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

    /// Adds a header to every request, or replaces it.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Calls a tool; a refusal by the tool is an answer too.
    ///
    /// # Errors
    /// The call as such failed: no connection, no authority, bad arguments.
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
    /// The call failed, the tool refused, or the result is of another type.
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

    /// Calls a tool and gives the whole answer.
    ///
    /// # Errors
    /// There is no answer.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers write `json!` in place"
    )]
    pub fn call(&mut self, name: &str, arguments: Value) -> Result<Answer> {
        self.request("tools/call", json!({"name": name, "arguments": arguments}))
    }

    /// Sends any request of the protocol.
    ///
    /// # Errors
    /// There is no answer, or it is not one of the protocol.
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

    /// Posts a body as it is, with these headers besides the client's own.
    ///
    /// # Errors
    /// There is no answer.
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
        // A kept connection may have been closed meanwhile; a new one tells whether it is the server.
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

/// Finds the answer to request `id`: the body itself, or the last event of a stream.
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
        let of_ours = message["id"] == json!(id) || message.get("error").is_some();
        if !of_ours {
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
        "HTTP {status} without an answer to request {id}: {}",
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
    fn an_answer_is_found_behind_the_notifications_of_its_stream() {
        let text = ": keep-alive\n\nevent: message\ndata: {\"method\":\"notifications/progress\"}\n\n\
                    data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"ok\":true}}\n\n";
        let found = answer(&response("text/event-stream", text), 7).unwrap();
        assert_eq!(found.notifications.len(), 1);
        assert_eq!(found.ok().unwrap(), json!({"ok": true}));
    }

    #[test]
    fn an_answer_to_another_request_is_none() {
        let text = r#"{"jsonrpc":"2.0","id":8,"result":{}}"#;
        assert!(answer(&response("application/json", text), 7).is_err());
    }
}
