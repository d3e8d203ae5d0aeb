//! Sends one request on a new connection and reads its response.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ephyr_mcp::bridge::is_not_http;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::events::{Events, OnProgress};
use crate::endpoint::{Address, Endpoint};
use crate::failure::{Failure, INTERRUPTED, PROTOCOL, UNAVAILABLE};

/// The possible effect of a request that was sent but got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// None: the request only reads.
    None,
    /// The request may have taken effect.
    Possible,
}

impl Effect {
    /// Returns the failure of a request without a response.
    fn failure(self, code: &str, text: &str) -> Failure {
        match self {
            Self::None => Failure::new(UNAVAILABLE, code, format!("{text}; nothing was changed")),
            Self::Possible => {
                let text = format!("{text}; the call may have taken effect");
                Failure::new(INTERRUPTED, code, text)
            }
        }
    }
}

/// Sends a request and returns the status and the body of its response; for an event stream, its result.
pub(super) fn send(
    endpoint: &Endpoint,
    mut request: http::request::Builder,
    body: String,
    timeout: Duration,
    effect: Effect,
    on_progress: OnProgress<'_>,
) -> Result<(StatusCode, Bytes), Failure> {
    let host = match &endpoint.address {
        Address::Socket(_) => "localhost".to_owned(),
        Address::Http(authority) => authority.to_string(),
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
        .map_err(|error| {
            Failure::new(
                UNAVAILABLE,
                "runtime",
                format!("the runtime cannot be started: {error}"),
            )
        })?;
    let lost = |error: hyper::Error| lost(&endpoint.address, effect, &error);
    let exchange = async {
        match &endpoint.address {
            Address::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|e| no_socket(path, &e))?;
                exchange(stream, request, on_progress, lost).await
            }
            Address::Http(authority) => {
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
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                let (address, seconds) = (&endpoint.address, timeout.as_secs());
                let text = format!("no response from {address} within {seconds} s");
                Err(effect.failure("no_answer", &text))
            })
    })
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    on_progress: OnProgress<'_>,
    lost: impl Fn(hyper::Error) -> Failure,
) -> Result<(StatusCode, Bytes), Failure>
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
        events.result()?.into()
    } else {
        body.collect().await.map_err(&lost)?.to_bytes()
    };
    driver.abort();
    Ok((head.status, body))
}

/// Returns the failure of a connection without a response: the server is not the broker, or the connection broke.
fn lost(address: &Address, effect: Effect, error: &hyper::Error) -> Failure {
    if is_not_http(error) {
        let text = format!(
            "{address} is not the broker: the server there does not speak HTTP ({error}); set --url or \
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

/// Returns the failure for a socket that cannot be connected to, with advice that depends on the error.
fn no_socket(path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "is ephyr-broker running? --socket or EPHYR_SOCKET names another socket"
        }
        io::ErrorKind::PermissionDenied => {
            "only members of the socket's group (ephyr-agents) may connect: ask an operator to add you"
        }
        io::ErrorKind::ConnectionRefused => "nothing listens on it: ephyr-broker has stopped",
        _ => "is ephyr-broker running?",
    };
    let text = format!("no broker at {}: {error}; {advice}", path.display());
    Failure::new(UNAVAILABLE, "no_broker", text)
}
