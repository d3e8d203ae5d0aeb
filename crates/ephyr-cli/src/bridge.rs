//! `ephyr mcp`: a stdio MCP server whose every message goes to the broker, so that an agent's
//! configuration names a command and holds no key.

use std::io;
use std::process::ExitCode;

use ephyr_mcp::bridge::{Connect, Options, run as bridge};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use crate::endpoint::{Endpoint, Place};
use crate::failure::{Failure, UNAVAILABLE};
use crate::holder::Holder;
use crate::tasks;

pub(crate) fn run(mut endpoint: Endpoint, bind: bool) -> Result<ExitCode, Failure> {
    if bind {
        endpoint.holder = Some(Holder::generate()?);
        endpoint = tasks::bind(endpoint)?.0;
    }
    let host = match &endpoint.place {
        Place::Socket(_) => "localhost".to_owned(),
        Place::Http(authority) => authority.to_string(),
    };
    let place = endpoint.place.clone();
    let options = Options {
        host,
        headers: Box::new(move |body| headers(&endpoint, body)),
        ..Options::local()
    };
    let failed = |error: io::Error| {
        Failure::new(
            UNAVAILABLE,
            "bridge",
            format!("the bridge stopped: {error}"),
        )
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let work = bridge(place, options, tokio::io::stdin(), tokio::io::stdout());
    let outcome = runtime.block_on(work);
    // A read of standard input may still be waiting in its thread.
    runtime.shutdown_background();
    outcome.map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// What a request carries besides its body: the credential, and the proof where the token is bound.
fn headers(endpoint: &Endpoint, body: &[u8]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    if let Some(authorization) = &endpoint.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    let proof = endpoint
        .proof("POST", "/mcp", body)
        .map_err(|failure| failure.to_string())?;
    if let Some(proof) = proof {
        headers.insert(HeaderName::from_static("ephyr-proof"), proof);
    }
    Ok(headers)
}

impl Connect for Place {
    type Io = Either<UnixStream, TcpStream>;

    async fn connect(&self) -> io::Result<Self::Io> {
        match self {
            Self::Socket(path) => UnixStream::connect(path).await.map(Either::Left),
            Self::Http(authority) => {
                let host = authority
                    .host()
                    .trim_start_matches('[')
                    .trim_end_matches(']');
                let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
                stream.set_nodelay(true)?;
                Ok(Either::Right(stream))
            }
        }
    }
}
