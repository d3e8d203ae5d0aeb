//! Replies, put together from parts that are JSON already.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::body::Body;
use crate::error::{INTERNAL_ERROR, RpcError};
use crate::json::push_string;
use crate::jsonrpc::Id;
use crate::output::{ToolError, ToolFailure};
use crate::post::Named;
use crate::version::Version;

/// Everything about a request that its answer repeats or depends on.
#[derive(Debug, Clone)]
pub(crate) struct Addressee {
    pub(crate) version: Version,
    /// The request's id as JSON.
    pub(crate) id: Bytes,
    /// `ServerInfo` as JSON.
    pub(crate) server: Bytes,
}

impl Addressee {
    pub(crate) fn new(version: Version, id: Id<'_>, server: &Bytes) -> Self {
        Self {
            version,
            id: Bytes::copy_from_slice(id.as_json().as_bytes()),
            server: server.clone(),
        }
    }

    /// A message that carries a result with these members (JSON, without the braces).
    pub(crate) fn result(&self, members: &[&[u8]]) -> Bytes {
        let length = members.iter().map(|part| part.len()).sum();
        let mut out = self.open(length, None);
        members.iter().for_each(|part| out.extend_from_slice(part));
        close(out)
    }

    /// A message that carries the outcome of a tool call.
    pub(crate) fn tool(&self, answer: &Result<crate::ToolOutput, ToolError>) -> Bytes {
        match answer {
            Ok(output) => self.result(&[output.members()]),
            Err(ToolError::Failed(failure)) => self.failure(failure),
            Err(ToolError::Internal(message)) => {
                self.error(&RpcError::new(INTERNAL_ERROR, message))
            }
        }
    }

    /// A message that carries an error.
    pub(crate) fn error(&self, error: &RpcError) -> Bytes {
        error_message(self.version, Some(&self.id), error)
    }

    fn failure(&self, failure: &ToolFailure) -> Bytes {
        let mut out = self.open(failure.message().len() + 64, failure.details());
        failure.push_members(&mut out);
        close(out)
    }

    fn open(&self, length: usize, details: Option<&Bytes>) -> Vec<u8> {
        const FRAME: usize = 160;
        let extra = details.map_or(0, Bytes::len) + self.id.len() + self.server.len();
        let mut out = Vec::with_capacity(FRAME + extra + length);
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(br#","result":{"#);
        if self.version.is_modern() {
            out.extend_from_slice(br#""resultType":"complete","#);
            out.extend_from_slice(br#""_meta":{"io.modelcontextprotocol/serverInfo":"#);
            out.extend_from_slice(&self.server);
            if let Some(details) = details {
                out.extend_from_slice(br#","ephyr/error":"#);
                out.extend_from_slice(details);
            }
            out.extend_from_slice(b"},");
        } else if let Some(details) = details {
            out.extend_from_slice(br#""_meta":{"ephyr/error":"#);
            out.extend_from_slice(details);
            out.extend_from_slice(b"},");
        }
        out
    }
}

/// Ends a result. Members are put down with commas after them; the last must go.
fn close(mut out: Vec<u8>) -> Bytes {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(b"}}");
    Bytes::from(out)
}

/// A message that carries an error. Without an id where none could be read.
pub(crate) fn error_message(version: Version, id: Option<&[u8]>, error: &RpcError) -> Bytes {
    let mut out = Vec::with_capacity(128 + error.message.len());
    out.extend_from_slice(br#"{"jsonrpc":"2.0","#);
    match id {
        Some(id) => {
            out.extend_from_slice(br#""id":"#);
            out.extend_from_slice(id);
            out.push(b',');
        }
        None if version.omits_unknown_id() => {}
        None => out.extend_from_slice(br#""id":null,"#),
    }
    out.extend_from_slice(br#""error":{"code":"#);
    out.extend_from_slice(error.code.to_string().as_bytes());
    out.extend_from_slice(br#","message":"#);
    push_string(&mut out, &error.message);
    if let Some(data) = &error.data {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
    }
    out.extend_from_slice(b"}}");
    Bytes::from(out)
}

/// A reply that holds one error.
pub(crate) fn error(version: Version, id: Option<Id<'_>>, error: &RpcError) -> Response<Body> {
    let id = id.map(|id| id.as_json().as_bytes());
    json(error.status(version), error_message(version, id, error))
}

/// Returns the reply to a message refused by the transport, such as a body over the limit: an error in the
/// protocol version of the headers, with the given status and JSON-RPC code.
#[must_use]
pub fn refusal(
    headers: &HeaderMap,
    status: StatusCode,
    code: i32,
    message: &str,
) -> Response<Body> {
    let version = Named::of(headers).map_or(Version::V2026_07_28, Named::assumed);
    error(
        version,
        None,
        &RpcError::new(code, message).with_status(status),
    )
}

/// A reply of JSON.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A reply of events.
pub(crate) fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Tells reverse proxies not to collect events before passing them on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The reply to what needs no answer.
pub(crate) fn taken() -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::new()));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
