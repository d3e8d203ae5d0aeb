//! The interface between connections and the code that answers their requests.

use std::error::Error;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use hyper::body::Body;

use crate::body::UnreadBody;

/// The other end of a connection, as the kernel reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A process of this user, over a Unix socket.
    Uid(u32),
    /// A process at this address, over TCP.
    Ip(IpAddr),
}

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// The response body. It may stream: each frame is sent as it arrives, and an error closes the connection.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers a request.
    ///
    /// The body cannot be read before it is [accepted](UnreadBody::accept), which a service does only after the head
    /// has shown that the caller may send a body. Dropping it closes the connection after the response.
    fn call(
        self: Arc<Self>,
        peer: Peer,
        head: Parts,
        body: UnreadBody,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}
