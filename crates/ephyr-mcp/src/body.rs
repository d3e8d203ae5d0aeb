//! Response bodies: one JSON text, or the event stream of a running call.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::running::EventStream;

/// The body of a response.
pub struct Body(BodyState);

enum BodyState {
    Full(Bytes),
    Events(Box<EventStream>),
    Sent,
}

impl Body {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self(BodyState::Full(bytes))
    }

    pub(crate) fn events(stream: EventStream) -> Self {
        Self(BodyState::Events(Box::new(stream)))
    }

    /// Returns the whole body; `None` for a stream.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            BodyState::Full(bytes) => Some(bytes),
            BodyState::Events(_) | BodyState::Sent => None,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let BodyState::Events(stream) = &mut self.0 {
            let event = ready!(stream.poll_event(cx));
            return Poll::Ready(event.map(|event| Ok(Frame::data(event))));
        }
        match std::mem::replace(&mut self.0, BodyState::Sent) {
            BodyState::Full(bytes) if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyState::Full(bytes) => bytes.is_empty(),
            BodyState::Events(_) => false,
            BodyState::Sent => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyState::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodyState::Events(_) => SizeHint::default(),
            BodyState::Sent => SizeHint::with_exact(0),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            BodyState::Full(_) => "Body::Full",
            BodyState::Events(_) => "Body::Events",
            BodyState::Sent => "Body::Sent",
        })
    }
}
