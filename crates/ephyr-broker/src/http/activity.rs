//! What a connection is doing, seen from outside, at the cost of two stores a request: whether it is
//! being answered, and since when nothing has moved.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A request's head must be whole within this time, and an idle connection lives no longer.
const IDLE: Duration = Duration::from_secs(30);
/// An answer of which nothing moves for so long will not be read any more. Longer than any command.
const STUCK: Duration = Duration::from_secs(330);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The activity of one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    busy: AtomicBool,
    /// Milliseconds after [`START`] at which something last moved.
    moved: AtomicU64,
}

impl Activity {
    /// A connection that was just made.
    pub(super) fn new() -> Arc<Self> {
        let activity = Self::default();
        activity.touch();
        Arc::new(activity)
    }

    fn touch(&self) {
        let millis = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(millis, Ordering::Relaxed);
    }

    /// An admitted request is being answered, until the body of the answer has gone.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.busy.store(true, Ordering::Relaxed);
        self.touch();
        Answering(Arc::clone(self))
    }

    /// Whether an admitted request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Whether it has been still for longer than it may.
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale_at(START.elapsed())
    }

    fn is_stale_at(&self, now: Duration) -> bool {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        now.saturating_sub(moved) > if self.is_busy() { STUCK } else { IDLE }
    }
}

/// An answer in the making; dropping it makes the connection idle.
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// A response's body that tells when it moves and when it has gone.
pub(super) struct Watched<B> {
    body: B,
    answering: Option<Answering>,
}

impl<B> Watched<B> {
    /// The body of an answer; `None` where there was no admitted request.
    pub(super) fn new(body: B, answering: Option<Answering>) -> Self {
        Self { body, answering }
    }
}

impl<B: Body<Data = Bytes, Error = Infallible> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(answering) = &this.answering {
            answering.0.touch();
        }
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
    fn a_connection_is_busy_until_its_answers_body_has_gone() {
        let activity = Activity::new();
        assert!(!activity.is_busy() && !activity.is_stale());
        let answering = activity.answering();
        let body = Watched::new((), Some(answering));
        assert!(activity.is_busy());
        drop(body);
        assert!(!activity.is_busy() && !activity.is_stale());
    }

    #[test]
    fn an_idle_connection_may_be_still_for_less_time_than_a_busy_one() {
        let activity = Activity::new();
        let after = |seconds| START.elapsed() + Duration::from_secs(seconds);
        assert!(!activity.is_stale_at(after(29)));
        assert!(activity.is_stale_at(after(31)));
        let answering = activity.answering();
        assert!(
            !activity.is_stale_at(after(300)),
            "a command may take that long"
        );
        assert!(activity.is_stale_at(after(331)));
        drop(answering);
        assert!(activity.is_stale_at(after(31)));
    }
}
