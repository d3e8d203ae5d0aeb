//! Sends one message to the server and receives the reply.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, Connect, Connection, PostError};
use super::events::{EventDecoder, MAX_EVENT};
use super::handshake::Handshake;
use super::options::{Headers, Options};
use crate::error::{INVALID_REQUEST, RpcError};
use crate::headers::{METHOD, NAME, PROTOCOL_VERSION, encode_value};
use crate::params::Params;
use crate::reply_context::error_message;
use crate::version::Version;

/// Why a message has no reply to forward.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error(transparent)]
    Post(#[from] PostError),
    #[error("the request cannot be sent: {0}")]
    Refused(String),
    #[error("the server's response is incomplete")]
    Cut,
    #[error("the server's response is not a JSON-RPC message (HTTP status {0})")]
    NotProtocol(StatusCode),
}

impl RelayError {
    /// Returns the error text for the client. `has_effects`: the message may have effects.
    pub(crate) fn message(&self, has_effects: bool) -> String {
        let may_have_acted = match self {
            Self::Post(error) => error.may_have_acted(),
            Self::Cut => true,
            Self::Refused(_) | Self::NotProtocol(_) => false,
        };
        if has_effects && may_have_acted {
            format!("{self}; the call may have taken effect")
        } else {
            self.to_string()
        }
    }
}

/// Exchanges messages with the server.
pub(crate) struct Relay<C> {
    client: Client<C>,
    path: String,
    host: HeaderValue,
    headers: Headers,
    pub(crate) handshake: Handshake,
}

/// The server's reply to one message.
pub(crate) struct ServerReply {
    /// The response without line breaks, if there is one.
    pub(crate) last: Option<Vec<u8>>,
    status: StatusCode,
    headers: HeaderMap,
}

impl<C: Connect> Relay<C> {
    pub(crate) fn new(connect: C, options: Options) -> Result<Self, http::Error> {
        Ok(Self {
            client: Client::new(connect, options.patience),
            host: HeaderValue::try_from(options.host)?,
            path: options.path,
            headers: options.headers,
            handshake: Handshake::default(),
        })
    }

    /// Sends a handshake and records it.
    pub(crate) async fn initialize(&self, message: Bytes) -> Result<ServerReply, RelayError> {
        let reply = self.send(HeaderMap::new(), &message, &mut |_| {}).await?;
        if let Some(answer) = &reply.last {
            self.handshake.remember(message, &reply.headers, answer);
        }
        Ok(reply)
    }

    /// Sends a message of a 2025 version. If the server does not know the session, repeats the handshake
    /// once.
    pub(crate) async fn legacy(
        &self,
        message: &Bytes,
        pass_on: &mut (dyn FnMut(Vec<u8>) + Send),
    ) -> Result<ServerReply, RelayError> {
        let mut headers = HeaderMap::new();
        let session = self.handshake.add_headers(&mut headers);
        let reply = self.send(headers, message, pass_on).await?;
        let Some(session) = session.filter(|_| reply.status == StatusCode::NOT_FOUND) else {
            return Ok(reply);
        };
        if !self.renew(&session).await? {
            return Ok(reply);
        }
        let mut headers = HeaderMap::new();
        self.handshake.add_headers(&mut headers);
        self.send(headers, message, pass_on).await
    }

    async fn renew(&self, stale: &HeaderValue) -> Result<bool, RelayError> {
        let _turn = self.handshake.renewing.lock().await;
        let Some(initialize) = self.handshake.stale(stale) else {
            return Ok(true);
        };
        let reply = self
            .send(HeaderMap::new(), &initialize, &mut |_| {})
            .await?;
        let made = reply
            .last
            .is_some_and(|answer| self.handshake.remember(initialize, &reply.headers, &answer));
        if made {
            let mut headers = HeaderMap::new();
            self.handshake.add_headers(&mut headers);
            let ready = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
            self.send(headers, &Bytes::from_static(ready), &mut |_| {})
                .await?;
        }
        Ok(made)
    }

    /// Sends a message of a version without handshake, with the headers that repeat its body.
    pub(crate) async fn modern(
        &self,
        version: &str,
        method: &str,
        params: &Params<'_>,
        message: &Bytes,
        pass_on: &mut (dyn FnMut(Vec<u8>) + Send),
    ) -> Result<ServerReply, RelayError> {
        let mut headers = HeaderMap::new();
        let refused = |_| {
            RelayError::Refused("it contains characters that are not allowed in headers".to_owned())
        };
        headers.insert(
            PROTOCOL_VERSION,
            HeaderValue::try_from(version).map_err(refused)?,
        );
        headers.insert(METHOD, HeaderValue::try_from(method).map_err(refused)?);
        if let Ok(Some(subject)) = params.subject(method) {
            let subject = encode_value(&subject);
            headers.insert(NAME, HeaderValue::try_from(&*subject).map_err(refused)?);
        }
        self.send(headers, message, pass_on).await
    }

    async fn send(
        &self,
        mut headers: HeaderMap,
        message: &Bytes,
        pass_on: &mut (dyn FnMut(Vec<u8>) + Send),
    ) -> Result<ServerReply, RelayError> {
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(ACCEPT, accept);
        headers.extend((self.headers)(message).map_err(RelayError::Refused)?);
        let mut request = Request::new(Full::new(message.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self
            .path
            .parse()
            .map_err(|_| RelayError::Refused(format!("{:?} is not a valid path", self.path)))?;
        *request.headers_mut() = headers;
        let (response, connection) = self.client.post(request).await?;
        self.receive(response, connection, pass_on).await
    }

    async fn receive(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        pass_on: &mut (dyn FnMut(Vec<u8>) + Send),
    ) -> Result<ServerReply, RelayError> {
        let (parts, body) = response.into_parts();
        let kind = parts
            .headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let last = if kind.starts_with(b"text/event-stream") {
            receive_events(body, pass_on).await?
        } else {
            let body = Limited::new(body, MAX_EVENT).collect().await;
            let body = body.map_err(|_| RelayError::Cut)?.to_bytes();
            match one_line(&body) {
                Some(message) => Some(message),
                None if parts.status == StatusCode::ACCEPTED => None,
                None => return Err(RelayError::NotProtocol(parts.status)),
            }
        };
        self.client.keep(connection);
        Ok(ServerReply {
            last,
            status: parts.status,
            headers: parts.headers,
        })
    }
}

/// Forwards every message except the response, which it returns.
async fn receive_events(
    mut body: Incoming,
    pass_on: &mut (dyn FnMut(Vec<u8>) + Send),
) -> Result<Option<Vec<u8>>, RelayError> {
    let mut events = EventDecoder::default();
    let mut response = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| RelayError::Cut)?;
        let Some(piece) = frame.data_ref() else {
            continue;
        };
        for data in events.feed(piece).map_err(|_| RelayError::Cut)? {
            // An event without data is a keep-alive.
            let Some(message) = one_line(&data) else {
                continue;
            };
            if is_response(&message) {
                response = Some(message);
            } else {
                pass_on(message);
            }
        }
    }
    match response {
        Some(response) => Ok(Some(response)),
        None => Err(RelayError::Cut),
    }
}

/// Returns a JSON object or array without line breaks, which JSON allows only between tokens; `None` for any
/// other text.
fn one_line(text: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<&RawValue>(text).ok()?;
    let mut line = text.trim_ascii().to_vec();
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    matches!(line.first(), Some(b'{' | b'[')).then_some(line)
}

fn is_response(message: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(borrow, default)]
        method: Option<&'a RawValue>,
    }
    serde_json::from_slice::<Shape<'_>>(message).is_ok_and(|shape| shape.method.is_none())
}

/// Adds the request's id to an error response without one. An error of the HTTP API, such as a rejected
/// credential, is converted to a JSON-RPC error.
pub(crate) fn with_id(message: Vec<u8>, id: &str) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Unaddressed<'a> {
        #[serde(borrow, default)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        error: &'a RawValue,
    }
    match serde_json::from_slice::<Unaddressed<'_>>(&message) {
        Ok(Unaddressed { id: None, error }) if !error.get().starts_with('{') => {
            http_error(&message, id)
        }
        Ok(Unaddressed { id: None, error }) => {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into_bytes()
        }
        _ => message,
    }
}

/// Converts an error of the HTTP API, `{"error": "token_revoked", "message": "…"}`.
fn http_error(message: &[u8], id: &str) -> Vec<u8> {
    #[derive(Deserialize)]
    struct HttpError {
        error: String,
        message: Option<String>,
    }
    let text = match serde_json::from_slice(message) {
        Ok(HttpError {
            error,
            message: Some(message),
        }) => format!("{message} ({error})"),
        Ok(HttpError { error, .. }) => error,
        Err(_) => "the server rejected the request with an unreadable error".to_owned(),
    };
    let error = RpcError::new(INVALID_REQUEST, text);
    error_message(Version::UNNAMED, Some(id.as_bytes()), &error).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_error_becomes_a_json_rpc_error() {
        for (body, expected) in [
            (
                r#"{"error":"task_unknown","message":"the task \"x\" has ended","id":null}"#,
                "the task \"x\" has ended (task_unknown)",
            ),
            (r#"{"error":"task_unknown"}"#, "task_unknown"),
            (
                r#"{"error":7}"#,
                "the server rejected the request with an unreadable error",
            ),
        ] {
            let message = with_id(body.as_bytes().to_vec(), "\"a\"");
            let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
            assert_eq!(message["jsonrpc"], "2.0");
            assert_eq!(message["id"], "a");
            assert_eq!(message["error"]["code"], INVALID_REQUEST);
            assert_eq!(message["error"]["message"], expected);
        }
    }

    #[test]
    fn complete_json_message_becomes_one_line() {
        assert_eq!(
            one_line(b"{\"a\":\n [1,\r\n2]}\n"),
            Some(b"{\"a\":  [1,  2]}".to_vec())
        );
        for bad in [&b""[..], b"5", b"\"text\"", b"{", b"<html>", b"{}{}"] {
            assert_eq!(one_line(bad), None);
        }
    }

    #[test]
    fn error_without_an_id_gets_the_id_of_its_request() {
        let with = |message: &str| with_id(message.as_bytes().to_vec(), "7");
        let expected = br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32700}}"#.to_vec();
        assert_eq!(
            with(r#"{"jsonrpc":"2.0","error":{"code":-32700}}"#),
            expected
        );
        assert_eq!(
            with(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}"#),
            expected
        );
        let own = r#"{"jsonrpc":"2.0","id":8,"error":{"code":1}}"#;
        assert_eq!(with(own), own.as_bytes());
        let result = r#"{"jsonrpc":"2.0","id":8,"result":{}}"#;
        assert_eq!(with(result), result.as_bytes());
    }
}
