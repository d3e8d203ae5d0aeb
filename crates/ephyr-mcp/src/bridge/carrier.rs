//! Forwards the client's messages to the server and the responses to the client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::client::Connect;
use super::relay::{Relay, RelayError, with_id};
use crate::error::{INTERNAL_ERROR, RpcError};
use crate::jsonrpc::{self, Id, Incoming, Posted};
use crate::params::Params;
use crate::reply_context::error_message;
use crate::version::Version;

/// The connection to the server, the client's output, and the running requests.
pub(super) struct Carrier<C> {
    relay: Relay<C>,
    out: mpsc::Sender<Vec<u8>>,
    /// Running requests by id (as JSON).
    running: Mutex<HashMap<String, RunningRequest>>,
    /// The request ids (as JSON) of running batches, by the task that forwards the batch.
    batches: Mutex<HashMap<tokio::task::Id, Vec<String>>>,
}

/// A running request.
pub(super) struct RunningRequest {
    pub(super) task: AbortHandle,
    /// Whether its version has no handshake.
    pub(super) is_modern: bool,
}

/// The reply that the client expects to a message.
pub(super) enum ExpectedReply {
    /// The response to a request.
    Response {
        /// The request's id, as JSON.
        id: String,
        /// Whether the request may have effects.
        has_effects: bool,
    },
    /// The response to a batch, if any.
    Batch,
    Nothing,
}

/// The group of protocol versions that a request belongs to.
#[derive(PartialEq)]
pub(super) enum Era {
    Modern,
    Legacy,
}

impl<C: Connect> Carrier<C> {
    pub(super) fn new(relay: Relay<C>, out: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            relay,
            out,
            running: Mutex::default(),
            batches: Mutex::default(),
        }
    }

    /// Waits until the client stops reading.
    pub(super) async fn closed(&self) {
        self.out.closed().await;
    }

    /// Forwards a handshake and its response.
    pub(super) async fn initialize(&self, id: Id<'_>, line: Bytes) {
        let answer = match self.relay.initialize(line).await {
            Ok(reply) => reply.last,
            Err(error) => Some(error_reply(id.as_json(), &error, false)),
        };
        self.send_line(answer, Some(id.as_json())).await;
    }

    /// Forwards a message, and everything that the server sends in reply.
    pub(super) async fn forward(&self, line: Bytes, expected: ExpectedReply) {
        let (pass, mut passed) = mpsc::unbounded_channel::<Vec<u8>>();
        let mut pass_on = |message| {
            pass.send(message).ok();
        };
        let exchange = self.exchange(&line, &mut pass_on);
        tokio::pin!(exchange);
        let outcome = loop {
            // A client that reads slowly also stops reading from the server.
            tokio::select! {
                biased;
                Some(message) = passed.recv() => self.send_line(Some(message), None).await,
                outcome = &mut exchange => break outcome,
            }
        };
        while let Ok(message) = passed.try_recv() {
            self.send_line(Some(message), None).await;
        }
        match (expected, outcome) {
            (ExpectedReply::Nothing, _) => {}
            (ExpectedReply::Batch, outcome) => {
                if let Some(own) = tokio::task::try_id() {
                    self.batches().remove(&own);
                }
                self.send_line(outcome.ok().flatten(), None).await;
            }
            (ExpectedReply::Response { id, has_effects }, outcome) => {
                self.forget(&id);
                let answer =
                    outcome.unwrap_or_else(|error| Some(error_reply(&id, &error, has_effects)));
                self.send_line(answer, Some(&id)).await;
            }
        }
    }

    /// Removes a finished request, but not a newer one with the same id.
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
        let reply = match jsonrpc::read(line) {
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
        Ok(reply.last)
    }

    /// Stops forwarding a request's response, which cancels a request of 2026-07-28. Returns the request's
    /// era; `None` if it is not running.
    pub(super) fn cancel(&self, id: Id<'_>) -> Option<Era> {
        let request = self.running().remove(id.as_json())?;
        request.task.abort();
        Some(if request.is_modern {
            Era::Modern
        } else {
            Era::Legacy
        })
    }

    /// Sends cancellations for the running requests of the 2025 versions, which a closed connection does not
    /// cancel.
    pub(super) async fn cancel_rest(self: Arc<Self>, timeout: Duration) {
        let mut left: Vec<String> = {
            let running = self.running();
            let legacy = running.iter().filter(|(_, request)| !request.is_modern);
            legacy.map(|(id, _)| id.clone()).collect()
        };
        left.extend(self.batches().values().flatten().cloned());
        let mut cancels: JoinSet<()> = left
            .into_iter()
            .map(|id| {
                let carrier = Arc::clone(&self);
                async move {
                    let notification = format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"the client disconnected"}}}}"#
                    );
                    // No retry if the server cannot be reached: the bridge is ending.
                    let notification = Bytes::from(notification);
                    carrier.relay.legacy(&notification, &mut |_| {}).await.ok();
                }
            })
            .collect();
        let all = async { while cancels.join_next().await.is_some() {} };
        tokio::time::timeout(timeout, all).await.ok();
    }

    /// Answers a message that is not forwarded.
    pub(super) async fn refuse(&self, id: Option<Id<'_>>, error: &RpcError) {
        let id = id.map(|id| id.as_json().as_bytes());
        let message = error_message(Version::UNNAMED, id, error);
        self.send_line(Some(message.to_vec()), None).await;
    }

    async fn send_line(&self, message: Option<Vec<u8>>, id: Option<&str>) {
        let Some(message) = message else { return };
        let message = match id {
            Some(id) => with_id(message, id),
            None => message,
        };
        // The channel closes when the client stops reading; the input loop notices that itself.
        self.out.send(message).await.ok();
    }

    pub(super) fn batches(&self) -> MutexGuard<'_, HashMap<tokio::task::Id, Vec<String>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<String, RunningRequest>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error_reply(id: &str, error: &RelayError, has_effects: bool) -> Vec<u8> {
    let error = RpcError::new(INTERNAL_ERROR, error.message(has_effects));
    error_message(Version::UNNAMED, Some(id.as_bytes()), &error).to_vec()
}
