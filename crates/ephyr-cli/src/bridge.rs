//! `ephyr mcp`: a stdio MCP server whose every message goes to the broker, so that an agent's
//! configuration names a command and holds no key.

use std::io;
use std::process::ExitCode;

use ephyr_mcp::bridge::{Connect, Options, run_until as bridge};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::net::{TcpStream, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
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
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    let outcome = runtime.block_on(bridge(place, options, input, output, client_gone()));
    // A read of standard input may still be waiting in its thread.
    runtime.shutdown_background();
    outcome.map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until the client has gone: it ends this program by a signal, or nobody holds the other end of standard output.
/// Clients close standard input first and may still read, so that alone says nothing.
async fn client_gone() {
    tokio::select! {
        () = ended_by(SignalKind::terminate()) => {}
        () = ended_by(SignalKind::interrupt()) => {}
        () = ended_by(SignalKind::hangup()) => {}
        () = reader_gone() => {}
    }
}

/// Waits for a signal; for ever where it cannot be waited for, since it then ends the program by itself.
async fn ended_by(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// Waits until nobody can read standard output any more. A write would tell as well, but while a command runs there is
/// nothing to write.
async fn reader_gone() {
    let (tell, told) = oneshot::channel();
    let watch = move || {
        let stdout = io::stdout();
        // No event is asked for: what is left is that the other end was closed, which is always told.
        let mut end = [PollFd::new(&stdout, PollFlags::empty())];
        loop {
            match poll(&mut end, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                // It cannot be waited for; a write will tell.
                Err(_) => return,
            }
        }
        // The bridge may have ended by itself.
        let _ = tell.send(());
    };
    let watching = std::thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(watch);
    if watching.is_err() || told.await.is_err() {
        std::future::pending::<()>().await;
    }
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
