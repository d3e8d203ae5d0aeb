//! Reads the client's lines and starts what they ask for.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, BufReader};
use tokio::task::JoinSet;

use super::carrier::{Carrier, Era, Running, Wants};
use super::client::Connect;
use super::lines::{self, Line, Partial};
use crate::error::{INTERNAL_ERROR, RpcError};
use crate::jsonrpc::{self, Id, Incoming, Posted};
use crate::limits::MAX_BODY;
use crate::params::Params;

/// Requests that may run beside each other.
const MAX_RUNNING: usize = 128;

/// Why a bridge ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndReason {
    /// The input has ended; the client may still read.
    Input,
    /// The output is closed, or the client has exited.
    Client,
}

/// The client's input, and the tasks that carry its messages.
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

    /// Waits until all messages are carried.
    pub(super) async fn drained(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Stops carrying messages.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Reads lines until the input ends or the client stops reading.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(super) async fn read<R: AsyncRead + Unpin>(&mut self, input: R) -> io::Result<EndReason> {
        let mut input = BufReader::new(input);
        let mut partial = Partial::default();
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
                // What follows a handshake depends on it, so nothing is read until it is made.
                if method == "initialize" {
                    return carrier.initialize(id, line.clone()).await;
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
                    && carrier.cancel(id) == Some(Era::Modern)
                {
                    return;
                }
                let carried = async move { carrier.carry(line, Wants::Nothing).await };
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
                let mut batches = self.carrier.batches();
                let carried = async move { carrier.carry(line, Wants::Anything).await };
                let task = self.tasks.spawn(carried);
                batches.insert(task.id(), ids);
            }
        }
    }

    async fn start(&mut self, id: Id<'_>, kind: RequestKind, line: Bytes) {
        let carrier = Arc::clone(&self.carrier);
        if carrier.running().len() >= MAX_RUNNING {
            let message = format!("{MAX_RUNNING} requests are running; wait for one to end");
            let error = RpcError::new(INTERNAL_ERROR, message);
            return carrier.refuse(Some(id), &error).await;
        }
        let id = id.as_json().to_owned();
        let mut running = self.carrier.running();
        let key = id.clone();
        let acts = kind.acts;
        let carried = async move { carrier.carry(line, Wants::AnswerTo { id, acts }).await };
        let task = self.tasks.spawn(carried);
        let is_modern = kind.is_modern;
        running.insert(key, Running { task, is_modern });
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
