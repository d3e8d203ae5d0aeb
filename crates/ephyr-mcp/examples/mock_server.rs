//! An HTTP server with the mock backend, for testing clients.
//!
//! `cargo run --example mock_server` prints `listening on 127.0.0.1:PORT` and serves until it is
//! stopped. The bearer token in the `Authorization` header is taken as the caller's name.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;

use ephyr_mcp::{Body, MAX_BODY, Server, SessionKey};
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Mock, SetupError};

type Reply = Response<Either<Body, Full<bytes::Bytes>>>;

#[tokio::main]
async fn main() -> Result<(), SetupError> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(0), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let server = Arc::new(Arc::new(Mock::new()?).server(SessionKey::generate()?)?);
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", listener.local_addr()?)?;
    out.flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let server = Arc::clone(&server);
        let service = service_fn(move |request| serve(Arc::clone(&server), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn serve(server: Arc<Server<Mock>>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (parts, body) = request.into_parts();
    if parts.uri.path() != "/mcp" {
        return Ok(plain(StatusCode::NOT_FOUND));
    }
    if let Err(refusal) = server.check(&parts) {
        return Ok(refusal.map(Either::Left));
    }
    let caller = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some(caller) = caller.and_then(|value| value.strip_prefix("Bearer ")) else {
        return Ok(plain(StatusCode::UNAUTHORIZED));
    };
    let caller = caller.to_owned();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let response = server.handle(&caller, &parts, &body.to_bytes()).await;
    Ok(response.map(Either::Left))
}

fn plain(status: StatusCode) -> Reply {
    let mut response = Response::new(Either::Right(Full::default()));
    *response.status_mut() = status;
    response
}
