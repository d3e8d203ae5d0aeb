//! Whether a connection is busy, and its last progress, at the cost of a few atomic stores per request.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Time allowed for a request's head, and lifetime of an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time without progress after which a busy connection is closed. Longer than any command.
const STALL_TIMEOUT: Duration = Duration::from_secs(330);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The activity of one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    busy: AtomicBool,
    /// Time of the last progress, in milliseconds after [`START`].
    last_progress: AtomicU64,
}

impl Activity {
    /// Returns the activity of a new connection.
    pub(crate) fn new() -> Arc<Self> {
        let activity = Self::default();
        activity.touch();
        Arc::new(activity)
    }

    fn touch(&self) {
        let millis = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_progress.store(millis, Ordering::Relaxed);
    }

    /// Marks the connection as busy with an accepted request.
    pub(crate) fn set_busy(&self) {
        self.busy.store(true, Ordering::Relaxed);
        self.touch();
    }

    /// Marks the connection as idle: it may be closed to make room for another.
    pub(crate) fn set_idle(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// Records progress if the connection is busy. Otherwise a peer whose requests are all refused could keep its
    /// connection open by sending more.
    pub(crate) fn progress(&self) {
        if self.is_busy() {
            self.touch();
        }
    }

    /// Returns whether an accepted request is being answered.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Returns whether the last progress is longer ago than allowed.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale_at(START.elapsed())
    }

    fn is_stale_at(&self, now: Duration) -> bool {
        let last_progress = Duration::from_millis(self.last_progress.load(Ordering::Relaxed));
        let timeout = if self.is_busy() {
            STALL_TIMEOUT
        } else {
            IDLE_TIMEOUT
        };
        now.saturating_sub(last_progress) > timeout
    }
}

/// One request and its response; dropping it makes the connection idle.
pub(crate) struct Exchange(Arc<Activity>);

impl Exchange {
    /// Starts an exchange whose request is not accepted yet.
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        Self(Arc::clone(activity))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.progress();
        self.0.set_idle();
    }
}

/// A response body that records progress, and ends the exchange when dropped.
pub(crate) struct TrackedBody<B> {
    body: B,
    exchange: Exchange,
}

impl<B> TrackedBody<B> {
    pub(crate) fn new(body: B, exchange: Exchange) -> Self {
        Self { body, exchange }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        this.exchange.0.progress();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_is_busy_until_its_response_body_is_dropped() {
        let activity = Activity::new();
        assert!(!activity.is_busy() && !activity.is_stale());
        let exchange = Exchange::new(&activity);
        activity.set_busy();
        let body = TrackedBody::new((), exchange);
        assert!(activity.is_busy());
        drop(body);
        assert!(!activity.is_busy() && !activity.is_stale());
    }

    #[test]
    fn idle_connection_is_stale_sooner_than_a_busy_one() {
        let activity = Activity::new();
        let after = |seconds| START.elapsed() + Duration::from_secs(seconds);
        assert!(!activity.is_stale_at(after(29)));
        assert!(activity.is_stale_at(after(31)));
        let exchange = Exchange::new(&activity);
        activity.set_busy();
        assert!(
            !activity.is_stale_at(after(300)),
            "a command may take that long"
        );
        assert!(activity.is_stale_at(after(331)));
        drop(exchange);
        assert!(activity.is_stale_at(after(31)));
    }

    #[test]
    fn refused_requests_do_not_prolong_an_idle_connection() {
        let activity = Arc::new(Activity::default());
        LazyLock::force(&START);
        std::thread::sleep(Duration::from_millis(2));
        drop(Exchange::new(&activity));
        assert_eq!(activity.last_progress.load(Ordering::Relaxed), 0);
        let exchange = Exchange::new(&activity);
        activity.set_busy();
        drop(exchange);
        assert!(activity.last_progress.load(Ordering::Relaxed) > 0);
    }
}
