//! Request bodies: refused, collected whole within limits, or read frame by frame.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::activity::Activity;

/// Time allowed for collecting a whole body.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes drained of a refused body. A client that is still sending can read the response only if the connection is
/// not reset.
const MAX_DRAIN: usize = 16 << 20;
/// Time allowed for draining a refused body.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a request body could not be collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The body exceeds the limit.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The connection broke.
    Broken,
}

/// The body of a request that is not accepted yet.
#[must_use = "dropping it closes the connection after the response"]
pub struct UnreadBody(RequestBody);

impl UnreadBody {
    pub(crate) fn new(head: &Parts, incoming: Incoming, activity: &Arc<Activity>) -> Self {
        Self(RequestBody {
            incoming,
            expects_continue: head.headers.contains_key(EXPECT),
            activity: Arc::clone(activity),
        })
    }

    /// Accepts the request, which makes the connection busy: it is not closed in favour of a new one.
    pub fn accept(self) -> RequestBody {
        self.0.activity.set_busy();
        self.0
    }

    /// Refuses the request. The rest of the body is drained within limits, so that the client can read the response.
    pub fn refuse(self) {
        self.0.drain();
    }
}

/// The body of an accepted request. The first read sends `100 Continue` to a client that waits for it.
pub struct RequestBody {
    incoming: Incoming,
    expects_continue: bool,
    activity: Arc<Activity>,
}

impl RequestBody {
    /// Collects the whole body, at most `limit` bytes within 15 s. Until it is complete, the connection counts as idle.
    /// A declared length over the limit is refused before any read and before `100 Continue` is sent.
    ///
    /// # Errors
    /// [`BodyError`]. After [`TooLarge`](BodyError::TooLarge) the rest is drained; after the others the connection
    /// cannot be used again.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, BodyError> {
        self.activity.set_idle();
        if self.size_hint().lower() > limit as u64 {
            self.drain();
            return Err(BodyError::TooLarge);
        }
        let collected = Limited::new(&mut self, limit).collect();
        match tokio::time::timeout(COLLECT_TIMEOUT, collected).await {
            Ok(Ok(collected)) => {
                self.activity.set_busy();
                Ok(collected.to_bytes())
            }
            Err(_) => Err(BodyError::TooSlow),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                self.drain();
                Err(BodyError::TooLarge)
            }
            Ok(Err(_)) => Err(BodyError::Broken),
        }
    }

    /// Discards the rest of the body in the background. It does nothing if the client waits for `100 Continue`: no body
    /// follows the refusal, and reading would send the `100`.
    fn drain(mut self) {
        if self.is_end_stream() || self.expects_continue {
            return;
        }
        tokio::spawn(async move {
            let rest = async {
                let mut drained = 0;
                while let Some(Ok(frame)) = self.frame().await {
                    drained += frame.data_ref().map_or(0, Bytes::len);
                    if drained > MAX_DRAIN {
                        return;
                    }
                }
            };
            // When a limit is exceeded, dropping the unread body closes the connection.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, rest).await;
        });
    }
}

/// Reads frame by frame, for services that forward frames. The only limit is the connection's stall timeout.
impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.incoming).poll_frame(cx));
        this.activity.progress();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
