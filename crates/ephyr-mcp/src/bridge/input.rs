//! Reads the client's lines and starts their requests.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, BufReader};
use tokio::task::JoinSet;

use super::carrier::{Carrier, Era, ExpectedReply, RunningRequest};
use super::client::Connect;
use super::lines::{self, Line, PartialLine};
use crate::error::{INTERNAL_ERROR, RpcError};
use crate::jsonrpc::{self, Id, Incoming, Posted};
use crate::limits::MAX_BODY;
use crate::params::Params;

/// Maximum number of concurrent requests.
const MAX_RUNNING: usize = 128;

/// Why a bridge stops reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndReason {
    /// The input has ended; the client may still read.
    Input,
    /// The output is closed, or the client has exited.
    Client,
}

/// The client's input, and the tasks that forward its messages.
pub(super) struct Input<C> {
    carrier: Arc<Carrier<C>>,
    tasks: JoinSet<()>,
}

impl<C: Connect> Input<C> {
    pub(super) fn new(carrier: Arc<Carrier<C>>) -> Self {
        Self {
            carrier,
            tasks: JoinSet::new(),
        }
    }

    /// Waits until all messages are answered.
    pub(super) async fn drained(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Aborts all tasks.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Reads lines until the input ends or the client stops reading.
    ///
    /// # Errors
    /// Reading the input failed.
    pub(super) async fn read<R: AsyncRead + Unpin>(&mut self, input: R) -> io::Result<EndReason> {
        let mut input = BufReader::new(input);
        let mut partial = PartialLine::default();
        loop {
            let line = tokio::select! {
                line = lines::next(&mut input, &mut partial) => line?,
                () = self.carrier.closed() => return Ok(EndReason::Client),
                Some(_) = self.tasks.join_next() => continue,
            };
            match line {
                None => return Ok(EndReason::Input),
                Some(Line::Text(text)) if text.trim_ascii().is_empty() => {}
                Some(Line::Text(text)) => self.take(Bytes::from(text)).await,
                Some(Line::TooLong) => {
                    let message = format!("the message is longer than {MAX_BODY} bytes");
                    self.carrier
                        .refuse(None, &RpcError::invalid_request(message))
                        .await;
                }
            }
        }
    }

    async fn take(&mut self, line: Bytes) {
        let carrier = Arc::clone(&self.carrier);
        match jsonrpc::read(&line) {
            Err(unreadable) => carrier.refuse(unreadable.id, &unreadable.error).await,
            Ok(Posted::One(Incoming::Request { id, method, params })) => {
                let params = match Params::read(params) {
                    Ok(params) => params,
                    Err(error) => return carrier.refuse(Some(id), &error).await,
                };
                // Later requests need the handshake's session, so reading waits for it.
                if method == "initialize" {
                    return carrier.initialize(id, line.clone()).await;
                }
                let request = RequestKind {
                    is_modern: matches!(params.meta.protocol_version(), Ok(Some(_))),
                    has_effects: method == "tools/call",
                };
                self.start(id, request, line.clone()).await;
            }
            Ok(Posted::One(Incoming::Notification { method, params })) => {
                let params = Params::read(params).unwrap_or_default();
                if method == "notifications/cancelled"
                    && let Some(id) = params.request_id()
                    && carrier.cancel(id) == Some(Era::Modern)
                {
                    return;
                }
                let forwarding = async move { carrier.forward(line, ExpectedReply::Nothing).await };
                self.tasks.spawn(forwarding);
            }
            // This server sends no requests, so responses are dropped.
            Ok(Posted::One(Incoming::Response)) => {}
            Ok(Posted::Batch(messages)) => {
                let id = |message: &Result<Incoming<'_>, _>| match message {
                    Ok(Incoming::Request { id, .. }) => Some(id.as_json().to_owned()),
                    _ => None,
                };
                let ids = messages.iter().filter_map(id).collect();
                drop(messages);
                let mut batches = self.carrier.batches();
                let forwarding = async move { carrier.forward(line, ExpectedReply::Batch).await };
                let task = self.tasks.spawn(forwarding);
                batches.insert(task.id(), ids);
            }
        }
    }

    async fn start(&mut self, id: Id<'_>, kind: RequestKind, line: Bytes) {
        let carrier = Arc::clone(&self.carrier);
        if carrier.running().len() >= MAX_RUNNING {
            let message =
                format!("limit of {MAX_RUNNING} running requests reached; wait for one to end");
            let error = RpcError::new(INTERNAL_ERROR, message);
            return carrier.refuse(Some(id), &error).await;
        }
        let id = id.as_json().to_owned();
        let mut running = self.carrier.running();
        let key = id.clone();
        let has_effects = kind.has_effects;
        let forwarding = async move {
            carrier
                .forward(line, ExpectedReply::Response { id, has_effects })
                .await;
        };
        let task = self.tasks.spawn(forwarding);
        let is_modern = kind.is_modern;
        running.insert(key, RunningRequest { task, is_modern });
    }
}

/// The properties of a request that determine cancellation and error texts.
#[derive(Clone, Copy)]
struct RequestKind {
    /// Whether its version has no handshake.
    is_modern: bool,
    /// Whether it may have effects.
    has_effects: bool,
}
