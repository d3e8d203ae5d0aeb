//! Carries messages to the server and passes on what comes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::client::Connect;
use super::relay::{Relay, RelayError, with_id};
use crate::addressee::error_message;
use crate::error::{INTERNAL_ERROR, RpcError};
use crate::jsonrpc::{self, Id, Incoming, Posted};
use crate::params::Params;
use crate::version::Version;

/// The connection to the server, the client's output, and the requests that run.
pub(super) struct Carrier<C> {
    relay: Relay<C>,
    out: mpsc::Sender<Vec<u8>>,
    /// Requests that run, by their id as JSON.
    running: Mutex<HashMap<String, Running>>,
    /// The ids, as JSON, of running requests in batches, by the task that carries the batch.
    batches: Mutex<HashMap<tokio::task::Id, Vec<String>>>,
}

/// A request that runs.
pub(super) struct Running {
    pub(super) task: AbortHandle,
    /// Whether it is of a version without handshake.
    pub(super) is_modern: bool,
}

/// What the client waits for after a message.
pub(super) enum Wants {
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

/// The protocol versions that a request belongs to.
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

    /// Carries a handshake and its answer.
    pub(super) async fn initialize(&self, id: Id<'_>, line: Bytes) {
        let answer = match self.relay.initialize(line).await {
            Ok(answered) => answered.last,
            Err(error) => Some(failed(id.as_json(), &error, false)),
        };
        self.put(answer, Some(id.as_json())).await;
    }

    /// Carries a message to the server and what it brings back.
    pub(super) async fn carry(&self, line: Bytes, wants: Wants) {
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
    pub(super) fn cancel(&self, id: Id<'_>) -> Option<Era> {
        let request = self.running().remove(id.as_json())?;
        request.task.abort();
        Some(if request.is_modern {
            Era::Modern
        } else {
            Era::Legacy
        })
    }

    /// Sends cancellations for the requests that a lost connection does not cancel: those of the 2025 versions.
    pub(super) async fn cancel_rest(self: Arc<Self>, patience: Duration) {
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
        tokio::time::timeout(patience, all).await.ok();
    }

    /// Answers a message that is not carried.
    pub(super) async fn refuse(&self, id: Option<Id<'_>>, error: &RpcError) {
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

    pub(super) fn batches(&self) -> MutexGuard<'_, HashMap<tokio::task::Id, Vec<String>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(id: &str, error: &RelayError, acts: bool) -> Vec<u8> {
    let error = RpcError::new(INTERNAL_ERROR, error.words(acts));
    error_message(Version::UNNAMED, Some(id.as_bytes()), &error).to_vec()
}
