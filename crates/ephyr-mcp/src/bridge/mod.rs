//! An MCP server on standard input and output whose every message is carried by HTTP: what
//! `ephyr mcp` runs, so that an agent's configuration names a command and holds no key.
//!
//! A line in is a POST; its answer, or each event of it, is a line out. Nothing else is ever written.
//! Requests run beside each other. A client of 2026-07-28 cancels by a `notifications/cancelled`, which
//! here means dropping the connection that carries the request; for the versions before it the
//! notification itself is carried. When the client has exited, running requests are cancelled in the same
//! way.

mod client;
mod events;
mod handshake;
mod lines;
mod relay;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

pub use client::{Connect, is_not_http};
use lines::{Line, Partial};
use relay::{Relay, RelayError, with_id};

use crate::error::{INTERNAL_ERROR, RpcError};
use crate::jsonrpc::{self, Id, Incoming, Posted};
use crate::limits::MAX_BODY;
use crate::params::Params;
use crate::reply::error_message;
use crate::version::Version;

/// Requests that may run beside each other.
const MAX_RUNNING: usize = 128;
/// Lines that wait for a client that reads slowly.
const OUT_QUEUE: usize = 64;
/// Timeout for cancelling the requests of an exited client, and for writing the last lines.
const LEAVE: Duration = Duration::from_secs(1);

/// Headers to add to a request, made from its body: a credential, or a proof over the body.
pub type Headers = Box<dyn Fn(&[u8]) -> Result<HeaderMap, String> + Send + Sync>;

/// Where the bridge leads.
pub struct Options {
    /// The `Host` header.
    pub host: String,
    /// The endpoint's path.
    pub path: String,
    /// Headers to add to each request.
    pub headers: Headers,
    /// How long a server that cannot be reached is tried again: it may be restarting.
    pub patience: Duration,
    /// How long running requests may go on after the input ended.
    pub drain: Duration,
}

impl Options {
    /// To `/mcp` on a local server, without further headers.
    #[must_use]
    pub fn local() -> Self {
        Self {
            host: "localhost".to_owned(),
            path: "/mcp".to_owned(),
            headers: Box::new(|_| Ok(HeaderMap::new())),
            patience: Duration::from_secs(5),
            drain: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("host", &self.host)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Runs a bridge until the input ends or the output is closed; see [`run_until`].
///
/// # Errors
/// As [`run_until`].
pub async fn run<C, R, W>(connect: C, options: Options, input: R, output: W) -> io::Result<()>
where
    C: Connect,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    run_until(connect, options, input, output, std::future::pending()).await
}

/// Runs a bridge until the input ends, the output is closed, or `gone` resolves because the client has
/// exited.
///
/// When the input ends, running requests have [`Options::drain`] to finish; in the other cases no time. Then
/// they are cancelled.
///
/// # Errors
/// The input cannot be read, the output cannot be written (other than because its reader left), or
/// the options make no request.
pub async fn run_until<C, R, W, G>(
    connect: C,
    options: Options,
    input: R,
    output: W,
    gone: G,
) -> io::Result<()>
where
    C: Connect,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
    G: Future<Output = ()>,
{
    let drain = options.drain;
    let relay = Relay::new(connect, options).map_err(io::Error::other)?;
    let (out, lines) = mpsc::channel(OUT_QUEUE);
    let mut writer = tokio::spawn(write(lines, output));
    let mut bridge = Bridge {
        shared: Arc::new(Shared {
            relay,
            out,
            running: Mutex::default(),
            batches: Mutex::default(),
        }),
        tasks: JoinSet::new(),
    };
    let mut gone = std::pin::pin!(gone);
    let read = tokio::select! {
        read = bridge.read(input) => read,
        () = &mut gone => Ok(EndReason::Client),
    };
    if matches!(read, Ok(EndReason::Input)) {
        let shared = Arc::clone(&bridge.shared);
        let rest = async { while bridge.tasks.join_next().await.is_some() {} };
        tokio::select! {
            // Requests still running after the grace period are cancelled.
            _ = tokio::time::timeout(drain, rest) => {}
            () = shared.out.closed() => {}
            () = &mut gone => {}
        }
    }
    // Dropping their connections cancels the requests of 2026-07-28, and nothing more is passed on.
    bridge.tasks.shutdown().await;
    Arc::clone(&bridge.shared).cancel_rest().await;
    drop(bridge);
    let written = match &read {
        Ok(EndReason::Input) => writer.await,
        // The writer may be blocked on a client that no longer reads.
        _ => match tokio::time::timeout(LEAVE, &mut writer).await {
            Ok(written) => written,
            Err(_) => {
                writer.abort();
                Ok(Ok(()))
            }
        },
    };
    let written = written.map_err(io::Error::other)?;
    read.and(written)
}

/// Why a bridge ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndReason {
    /// The input has ended; the client may still read.
    Input,
    /// The output is closed, or the client has exited.
    Client,
}

async fn write<W: AsyncWrite + Unpin>(
    mut lines: mpsc::Receiver<Vec<u8>>,
    mut output: W,
) -> io::Result<()> {
    while let Some(mut line) = lines.recv().await {
        line.push(b'\n');
        let written = async {
            output.write_all(&line).await?;
            output.flush().await
        };
        match written.await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Bridge<C> {
    shared: Arc<Shared<C>>,
    tasks: JoinSet<()>,
}

struct Shared<C> {
    relay: Relay<C>,
    out: mpsc::Sender<Vec<u8>>,
    /// Requests that run, by their id as JSON.
    running: Mutex<HashMap<String, Request>>,
    /// The ids, as JSON, of running requests in batches, by the task that carries the batch.
    batches: Mutex<HashMap<tokio::task::Id, Vec<String>>>,
}

struct Request {
    task: AbortHandle,
    is_modern: bool,
}

impl<C: Connect> Bridge<C> {
    async fn read<R: AsyncRead + Unpin>(&mut self, input: R) -> io::Result<EndReason> {
        let mut input = BufReader::new(input);
        let mut partial = Partial::default();
        loop {
            let line = tokio::select! {
                line = lines::next(&mut input, &mut partial) => line?,
                () = self.shared.out.closed() => return Ok(EndReason::Client),
                Some(_) = self.tasks.join_next() => continue,
            };
            match line {
                None => return Ok(EndReason::Input),
                Some(Line::Text(text)) if text.trim_ascii().is_empty() => {}
                Some(Line::Text(text)) => self.take(Bytes::from(text)).await,
                Some(Line::TooLong) => {
                    let message = format!("the message is longer than {MAX_BODY} bytes");
                    self.shared
                        .refuse(None, &RpcError::invalid_request(message))
                        .await;
                }
            }
        }
    }

    async fn take(&mut self, line: Bytes) {
        let shared = Arc::clone(&self.shared);
        match jsonrpc::read(&line) {
            Err(unreadable) => shared.refuse(unreadable.id, &unreadable.error).await,
            Ok(Posted::One(Incoming::Request { id, method, params })) => {
                let params = match Params::read(params) {
                    Ok(params) => params,
                    Err(error) => return shared.refuse(Some(id), &error).await,
                };
                // What follows a handshake depends on it, so nothing is read until it is made.
                if method == "initialize" {
                    return shared.initialize(id, line.clone()).await;
                }
                let request = RequestKind {
                    is_modern: matches!(params.meta.protocol_version(), Ok(Some(_))),
                    acts: method == "tools/call",
                };
                self.start(id, request, line.clone()).await;
            }
            Ok(Posted::One(Incoming::Notification { method, params })) => {
                let params = Params::read(params).unwrap_or_default();
                if method == "notifications/cancelled"
                    && let Some(id) = params.request_id()
                    && shared.cancel(id) == Some(Era::Modern)
                {
                    return;
                }
                let carried = async move { shared.carry(line, Wants::Nothing).await };
                self.tasks.spawn(carried);
            }
            // The versions in which a server asks questions have answers to them; this one asks none.
            Ok(Posted::One(Incoming::Response)) => {}
            Ok(Posted::Batch(messages)) => {
                let id = |message: &Result<Incoming<'_>, _>| match message {
                    Ok(Incoming::Request { id, .. }) => Some(id.as_json().to_owned()),
                    _ => None,
                };
                let ids = messages.iter().filter_map(id).collect();
                drop(messages);
                let mut batches = self.shared.batches();
                let carried = async move { shared.carry(line, Wants::Anything).await };
                let task = self.tasks.spawn(carried);
                batches.insert(task.id(), ids);
            }
        }
    }

    async fn start(&mut self, id: Id<'_>, kind: RequestKind, line: Bytes) {
        let shared = Arc::clone(&self.shared);
        if shared.running().len() >= MAX_RUNNING {
            let message = format!("{MAX_RUNNING} requests are running; wait for one to end");
            let error = RpcError::new(INTERNAL_ERROR, message);
            return shared.refuse(Some(id), &error).await;
        }
        let id = id.as_json().to_owned();
        let mut running = self.shared.running();
        let key = id.clone();
        let acts = kind.acts;
        let carried = async move { shared.carry(line, Wants::AnswerTo { id, acts }).await };
        let task = self.tasks.spawn(carried);
        let is_modern = kind.is_modern;
        running.insert(key, Request { task, is_modern });
    }
}

/// The properties of a request that cancelling and errors depend on.
#[derive(Clone, Copy)]
struct RequestKind {
    /// Whether it is of a version without handshake.
    is_modern: bool,
    /// Whether it may take effect.
    acts: bool,
}

/// What the client waits for after a message.
enum Wants {
    /// The answer to a request with this id, as JSON.
    AnswerTo {
        id: String,
        /// Whether the request may take effect.
        acts: bool,
    },
    /// Whatever the server says to an array of messages.
    Anything,
    Nothing,
}

#[derive(PartialEq)]
enum Era {
    Modern,
    Legacy,
}

impl<C: Connect> Shared<C> {
    async fn initialize(&self, id: Id<'_>, line: Bytes) {
        let answer = match self.relay.initialize(line).await {
            Ok(answered) => answered.last,
            Err(error) => Some(failed(id.as_json(), &error, false)),
        };
        self.put(answer, Some(id.as_json())).await;
    }

    /// Carries a message to the server and what it brings back.
    async fn carry(&self, line: Bytes, wants: Wants) {
        let (pass, mut passed) = mpsc::unbounded_channel::<Vec<u8>>();
        let mut pass_on = |message| {
            pass.send(message).ok();
        };
        let exchange = self.exchange(&line, &mut pass_on);
        tokio::pin!(exchange);
        let outcome = loop {
            // While the client is slow to read, nothing more is asked of the server.
            tokio::select! {
                biased;
                Some(message) = passed.recv() => self.put(Some(message), None).await,
                outcome = &mut exchange => break outcome,
            }
        };
        while let Ok(message) = passed.try_recv() {
            self.put(Some(message), None).await;
        }
        match (wants, outcome) {
            (Wants::Nothing, _) => {}
            (Wants::Anything, outcome) => {
                if let Some(own) = tokio::task::try_id() {
                    self.batches().remove(&own);
                }
                self.put(outcome.ok().flatten(), None).await;
            }
            (Wants::AnswerTo { id, acts }, outcome) => {
                self.forget(&id);
                let answer = outcome.unwrap_or_else(|error| Some(failed(&id, &error, acts)));
                self.put(answer, Some(&id)).await;
            }
        }
    }

    /// Takes a request that ended off the list, but not another one that has its id.
    fn forget(&self, id: &str) {
        let mut running = self.running();
        let own = tokio::task::try_id();
        if running.get(id).map(|request| request.task.id()) == own {
            running.remove(id);
        }
    }

    async fn exchange(
        &self,
        line: &Bytes,
        pass_on: &mut (dyn FnMut(Vec<u8>) + Send),
    ) -> Result<Option<Vec<u8>>, RelayError> {
        let answered = match jsonrpc::read(line) {
            Ok(Posted::One(
                Incoming::Request { method, params, .. }
                | Incoming::Notification { method, params },
            )) => {
                let params = Params::read(params).unwrap_or_default();
                match params.meta.protocol_version() {
                    Ok(Some(version)) => {
                        let relay = &self.relay;
                        relay
                            .modern(&version, &method, &params, line, pass_on)
                            .await?
                    }
                    _ => self.relay.legacy(line, pass_on).await?,
                }
            }
            _ => self.relay.legacy(line, pass_on).await?,
        };
        Ok(answered.last)
    }

    /// Stops passing on what a request brings. A request of 2026-07-28 is thereby cancelled.
    fn cancel(&self, id: Id<'_>) -> Option<Era> {
        let request = self.running().remove(id.as_json())?;
        request.task.abort();
        Some(if request.is_modern {
            Era::Modern
        } else {
            Era::Legacy
        })
    }

    /// Sends cancellations for the requests that a lost connection does not cancel: those of the 2025 versions.
    async fn cancel_rest(self: Arc<Self>) {
        let mut left: Vec<String> = {
            let running = self.running();
            let legacy = running.iter().filter(|(_, request)| !request.is_modern);
            legacy.map(|(id, _)| id.clone()).collect()
        };
        left.extend(self.batches().values().flatten().cloned());
        let mut cancels: JoinSet<()> = left
            .into_iter()
            .map(|id| {
                let shared = Arc::clone(&self);
                async move {
                    let notification = format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"the client disconnected"}}}}"#
                    );
                    // No retry if the server cannot be reached: the bridge is ending.
                    let notification = Bytes::from(notification);
                    shared.relay.legacy(&notification, &mut |_| {}).await.ok();
                }
            })
            .collect();
        let all = async { while cancels.join_next().await.is_some() {} };
        tokio::time::timeout(LEAVE, all).await.ok();
    }

    async fn refuse(&self, id: Option<Id<'_>>, error: &RpcError) {
        let id = id.map(|id| id.as_json().as_bytes());
        let message = error_message(Version::UNNAMED, id, error);
        self.put(Some(message.to_vec()), None).await;
    }

    async fn put(&self, message: Option<Vec<u8>>, id: Option<&str>) {
        let Some(message) = message else { return };
        let message = match id {
            Some(id) => with_id(message, id),
            None => message,
        };
        // A closed channel is a client that stopped reading; the loop ends on its own.
        self.out.send(message).await.ok();
    }

    fn batches(&self) -> MutexGuard<'_, HashMap<tokio::task::Id, Vec<String>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Request>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(id: &str, error: &RelayError, acts: bool) -> Vec<u8> {
    let error = RpcError::new(INTERNAL_ERROR, error.words(acts));
    error_message(Version::UNNAMED, Some(id.as_bytes()), &error).to_vec()
}
