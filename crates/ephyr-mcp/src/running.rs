//! Running tool calls: each has its own task, and the response receives its progress and answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep, sleep};

use crate::backend::{Answer, CallContext, Cancel, Event, Progress};
use crate::error::{INTERNAL_ERROR, REQUEST_CANCELLED, RpcError};
use crate::inflight::{Inflight, RequestKey};
use crate::json::push_string;
use crate::limits::{KEEP_ALIVE, PROGRESS_QUEUE};
use crate::reply_context::ReplyContext;

/// How a caller cancels a call.
pub(crate) enum CancelMode {
    /// By disconnecting (2026-07-28).
    OnDisconnect,
    /// By `notifications/cancelled` (earlier versions, in which a lost connection must not cancel).
    OnNotification(Inflight, RequestKey),
}

/// A running call.
pub(crate) struct RunningCall {
    events: mpsc::Receiver<Event>,
    cancelled_by_caller: Option<oneshot::Receiver<()>>,
    _cancel_on_drop: Option<CancelOnDrop>,
}

/// Cancels the work when dropped.
struct CancelOnDrop(watch::Sender<bool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// An update from a running call.
pub(crate) enum CallUpdate {
    Progress(String),
    Done(Answer),
    Cancelled,
    /// The work panicked.
    Lost,
}

impl CallUpdate {
    /// Returns the final message of the response; `None` for progress.
    pub(crate) fn answer(self, context: &ReplyContext) -> Option<Bytes> {
        match self {
            Self::Progress(_) => None,
            Self::Done(answer) => Some(context.tool(&answer)),
            Self::Cancelled => {
                let error = RpcError::new(REQUEST_CANCELLED, "the request was cancelled");
                Some(context.error(&error))
            }
            Self::Lost => {
                let message = "the call ended without an answer; it may have taken effect";
                Some(context.error(&RpcError::new(INTERNAL_ERROR, message)))
            }
        }
    }
}

impl RunningCall {
    /// Starts the work in a task.
    pub(crate) fn start<W, F>(work: W, wants_progress: bool, cancel_mode: CancelMode) -> Self
    where
        W: FnOnce(CallContext) -> F,
        F: Future<Output = Answer> + Send + 'static,
    {
        let (sender, events) = mpsc::channel(PROGRESS_QUEUE);
        let (cancelled, watched) = watch::channel(false);
        let future = work(CallContext {
            cancel: Cancel::new(watched),
            progress: Progress::new(wants_progress.then(|| sender.clone())),
        });
        let (cancel_on_drop, entered, cancelled_by_caller) = match cancel_mode {
            CancelMode::OnDisconnect => (Some(CancelOnDrop(cancelled)), None, None),
            CancelMode::OnNotification(table, key) => {
                let (reply, cancelled_by_caller) = oneshot::channel();
                let entered = table.enter(key, cancelled, reply);
                (None, Some(entered), Some(cancelled_by_caller))
            }
        };
        tokio::spawn(async move {
            let answer = future.await;
            drop(entered);
            // The receiver is gone if the caller disconnected.
            sender.send(Event::Done(answer)).await.ok();
        });
        Self {
            events,
            cancelled_by_caller,
            _cancel_on_drop: cancel_on_drop,
        }
    }

    /// Waits for the next update; `None` on timeout.
    pub(crate) async fn update_within(&mut self, timeout: Duration) -> Option<CallUpdate> {
        let update = poll_fn(|cx| self.poll_update(cx));
        tokio::time::timeout(timeout, update).await.ok()
    }

    /// Waits for the answer and discards progress.
    pub(crate) async fn answer(&mut self) -> CallUpdate {
        loop {
            match poll_fn(|cx| self.poll_update(cx)).await {
                CallUpdate::Progress(_) => {}
                update => return update,
            }
        }
    }

    fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<CallUpdate> {
        if let Some(cancelled_by_caller) = &mut self.cancelled_by_caller
            && let Poll::Ready(outcome) = Pin::new(cancelled_by_caller).poll(cx)
        {
            self.cancelled_by_caller = None;
            // The sender is dropped unused if the work ended without being cancelled.
            if outcome.is_ok() {
                return Poll::Ready(CallUpdate::Cancelled);
            }
        }
        Poll::Ready(match ready!(self.events.poll_recv(cx)) {
            Some(Event::Progress(message)) => CallUpdate::Progress(message),
            Some(Event::Done(answer)) => CallUpdate::Done(answer),
            None => CallUpdate::Lost,
        })
    }
}

/// A response as an event stream: progress, keep-alive comments, and finally the answer.
pub(crate) struct EventStream {
    context: ReplyContext,
    /// The progress token as JSON.
    token: Option<Bytes>,
    progress: u64,
    /// An update received before the response became a stream.
    early: Option<CallUpdate>,
    running: Option<RunningCall>,
    silence: Pin<Box<Sleep>>,
}

impl EventStream {
    pub(crate) fn new(
        context: ReplyContext,
        token: Option<Bytes>,
        early: Option<CallUpdate>,
        running: RunningCall,
    ) -> Self {
        Self {
            context,
            token,
            progress: 0,
            early,
            running: Some(running),
            silence: Box::pin(sleep(KEEP_ALIVE)),
        }
    }

    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let Some(update) = ready!(self.poll_update(cx)) else {
                return Poll::Ready(None);
            };
            let event = match update {
                StreamItem::Silence => Some(Bytes::from_static(b":\n\n")),
                StreamItem::Update(CallUpdate::Progress(message)) => self.progress(&message),
                StreamItem::Update(update) => {
                    self.running = None;
                    update.answer(&self.context).map(|answer| event(&answer))
                }
            };
            if event.is_some() {
                return Poll::Ready(event);
            }
        }
    }

    fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamItem>> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(None);
        };
        let update = match self.early.take() {
            Some(update) => Poll::Ready(update),
            None => running.poll_update(cx),
        };
        let next = match update {
            Poll::Ready(update) => StreamItem::Update(update),
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(cx));
                StreamItem::Silence
            }
        };
        self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(next))
    }

    fn progress(&mut self, message: &str) -> Option<Bytes> {
        let token = self.token.as_ref()?;
        self.progress += 1;
        let mut out = Vec::with_capacity(160 + message.len());
        out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"notifications/progress","#);
        out.extend_from_slice(br#""params":{"progressToken":"#);
        out.extend_from_slice(token);
        out.extend_from_slice(br#","progress":"#);
        out.extend_from_slice(self.progress.to_string().as_bytes());
        out.extend_from_slice(br#","message":"#);
        push_string(&mut out, message);
        out.extend_from_slice(b"}}");
        Some(event(&out))
    }
}

enum StreamItem {
    Update(CallUpdate),
    Silence,
}

/// Returns a message as a server-sent event. Compact JSON has no line break that would end the event.
pub(crate) fn event(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 24);
    out.extend_from_slice(b"event: message\ndata: ");
    out.extend_from_slice(message);
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}
