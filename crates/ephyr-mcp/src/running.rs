//! A tool call that runs: in a task of its own, watched by the reply that will carry its answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep, sleep};

use crate::addressee::Addressee;
use crate::backend::{Answer, CallContext, Cancel, Event, Progress};
use crate::error::{INTERNAL_ERROR, REQUEST_CANCELLED, RpcError};
use crate::inflight::{Inflight, Key};
use crate::json::push_string;
use crate::limits::{KEEP_ALIVE, PROGRESS_QUEUE};

/// How a caller can take back what it asked for.
pub(crate) enum Recall {
    /// By leaving: 2026-07-28.
    ByLeaving,
    /// By a `notifications/cancelled`: the versions before it, where a lost connection must not be
    /// taken for a change of mind.
    ByNotification(Inflight, Key),
}

/// A call that runs.
pub(crate) struct Running {
    events: mpsc::Receiver<Event>,
    recalled: Option<oneshot::Receiver<()>>,
    /// Tells the work, when dropped, that nobody waits any more.
    _leaving: Option<Leaving>,
}

struct Leaving(watch::Sender<bool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// What a reply hears of its call.
pub(crate) enum News {
    Progress(String),
    Done(Answer),
    Recalled,
    /// The work ended without an answer: it panicked.
    Lost,
}

impl News {
    /// The message that ends the reply; none for progress.
    pub(crate) fn answer(self, to: &Addressee) -> Option<Bytes> {
        match self {
            Self::Progress(_) => None,
            Self::Done(answer) => Some(to.tool(&answer)),
            Self::Recalled => {
                let error = RpcError::new(REQUEST_CANCELLED, "the request was cancelled");
                Some(to.error(&error))
            }
            Self::Lost => {
                let message = "the call ended without an answer; it may have taken effect";
                Some(to.error(&RpcError::new(INTERNAL_ERROR, message)))
            }
        }
    }
}

impl Running {
    /// Starts the work.
    pub(crate) fn start<W, F>(work: W, wants_progress: bool, recall: Recall) -> Self
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
        let (leaving, entered, recalled) = match recall {
            Recall::ByLeaving => (Some(Leaving(cancelled)), None, None),
            Recall::ByNotification(table, key) => {
                let (reply, recalled) = oneshot::channel();
                let entered = table.enter(key, cancelled, reply);
                (None, Some(entered), Some(recalled))
            }
        };
        tokio::spawn(async move {
            let answer = future.await;
            drop(entered);
            // The caller may have left.
            sender.send(Event::Done(answer)).await.ok();
        });
        Self {
            events,
            recalled,
            _leaving: leaving,
        }
    }

    /// Waits for news, but no longer than `patience`.
    pub(crate) async fn news_within(&mut self, patience: Duration) -> Option<News> {
        let news = poll_fn(|cx| self.poll_news(cx));
        tokio::time::timeout(patience, news).await.ok()
    }

    /// Waits for the answer, passing over progress.
    pub(crate) async fn answer(&mut self) -> News {
        loop {
            match poll_fn(|cx| self.poll_news(cx)).await {
                News::Progress(_) => {}
                news => return news,
            }
        }
    }

    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        if let Some(recalled) = &mut self.recalled
            && let Poll::Ready(outcome) = Pin::new(recalled).poll(cx)
        {
            self.recalled = None;
            // An entry dropped without a word is work that ended by itself.
            if outcome.is_ok() {
                return Poll::Ready(News::Recalled);
            }
        }
        Poll::Ready(match ready!(self.events.poll_recv(cx)) {
            Some(Event::Progress(message)) => News::Progress(message),
            Some(Event::Done(answer)) => News::Done(answer),
            None => News::Lost,
        })
    }
}

/// A reply as a stream of events: progress, comments while nothing happens, and the answer last.
pub(crate) struct EventStream {
    to: Addressee,
    /// The progress token as JSON.
    token: Option<Bytes>,
    progress: u64,
    /// News that came before it was known that the reply would stream.
    early: Option<News>,
    running: Option<Running>,
    silence: Pin<Box<Sleep>>,
}

impl EventStream {
    pub(crate) fn new(
        to: Addressee,
        token: Option<Bytes>,
        early: Option<News>,
        running: Running,
    ) -> Self {
        Self {
            to,
            token,
            progress: 0,
            early,
            running: Some(running),
            silence: Box::pin(sleep(KEEP_ALIVE)),
        }
    }

    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let Some(news) = ready!(self.poll_news(cx)) else {
                return Poll::Ready(None);
            };
            let event = match news {
                Next::Silence => Some(Bytes::from_static(b":\n\n")),
                Next::News(News::Progress(message)) => self.progress(&message),
                Next::News(news) => {
                    self.running = None;
                    news.answer(&self.to).map(|answer| event(&answer))
                }
            };
            if event.is_some() {
                return Poll::Ready(event);
            }
        }
    }

    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(None);
        };
        let news = match self.early.take() {
            Some(news) => Poll::Ready(news),
            None => running.poll_news(cx),
        };
        let next = match news {
            Poll::Ready(news) => Next::News(news),
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(cx));
                Next::Silence
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

enum Next {
    News(News),
    Silence,
}

/// A message as an event. It is compact JSON, so it holds no line break that would end it early.
pub(crate) fn event(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 24);
    out.extend_from_slice(b"event: message\ndata: ");
    out.extend_from_slice(message);
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}
