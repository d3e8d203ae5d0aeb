//! HTTP responses with a message or an event stream.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::body::Body;
use crate::error::RpcError;
use crate::jsonrpc::Id;
use crate::named_version::NamedVersion;
use crate::reply_context::error_message;
use crate::version::Version;

/// Returns a response with one error.
pub(crate) fn error(version: Version, id: Option<Id<'_>>, error: &RpcError) -> Response<Body> {
    let id = id.map(|id| id.as_json().as_bytes());
    json(error.status(version), error_message(version, id, error))
}

/// Returns the response to a message rejected by the transport, such as a body over the limit: an error in
/// the protocol version of the headers, with the given status and JSON-RPC code.
#[must_use]
pub fn refusal(
    headers: &HeaderMap,
    status: StatusCode,
    code: i32,
    message: &str,
) -> Response<Body> {
    let version = NamedVersion::of(headers).map_or(Version::V2026_07_28, NamedVersion::assumed);
    error(
        version,
        None,
        &RpcError::new(code, message).with_status(status),
    )
}

/// Returns a JSON response.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Returns an event stream response.
pub(crate) fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Disables nginx's response buffering, which would delay events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Returns the empty response to a notification: 202 Accepted.
pub(crate) fn taken() -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::new()));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
