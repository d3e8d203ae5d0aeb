//! `ephyr mcp`: a stdio MCP server that forwards every message to the broker, so that an agent's configuration names
//! a command and contains no key.

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

use crate::endpoint::{Address, Endpoint};
use crate::failure::{Failure, UNAVAILABLE};
use crate::holder::Holder;
use crate::tasks;

pub(crate) fn run(mut endpoint: Endpoint, bind: bool) -> Result<ExitCode, Failure> {
    if bind {
        endpoint.holder = Some(Holder::generate()?);
        endpoint = tasks::bind(endpoint)?;
    }
    let host = match &endpoint.address {
        Address::Socket(_) => "localhost".to_owned(),
        Address::Http(authority) => authority.to_string(),
    };
    let address = endpoint.address.clone();
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
    let outcome = runtime.block_on(bridge(address, options, input, output, client_gone()));
    // A thread may still be blocked in a read of standard input: do not wait for it.
    runtime.shutdown_background();
    outcome.map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until the client is gone: it signals this program, or the other end of standard output is closed. A closed
/// standard input is not enough, since clients close it first and may still read.
async fn client_gone() {
    tokio::select! {
        () = ended_by(SignalKind::terminate()) => {}
        () = ended_by(SignalKind::interrupt()) => {}
        () = ended_by(SignalKind::hangup()) => {}
        () = reader_gone() => {}
    }
}

/// Waits for a signal. Without a handler the wait never ends, since the signal then ends the program.
async fn ended_by(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// Waits until the reader of standard output is closed. A write would fail too, but there is nothing to write while a
/// command runs.
async fn reader_gone() {
    let (closed, wait) = oneshot::channel();
    let watch = move || {
        let stdout = io::stdout();
        // No event is requested: poll always reports a closed other end.
        let mut end = [PollFd::new(&stdout, PollFlags::empty())];
        loop {
            match poll(&mut end, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                // Polling is not possible; a write will fail instead.
                Err(_) => return,
            }
        }
        // The bridge may already have ended.
        let _ = closed.send(());
    };
    let watching = std::thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(watch);
    if watching.is_err() || wait.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns the headers of a request: the credential, and the proof if the token is bound.
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

impl Connect for Address {
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
