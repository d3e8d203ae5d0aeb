//! The endpoint: parses POST requests and answers them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};

use crate::backend::Backend;
use crate::body::Body;
use crate::error::INVALID_REQUEST;
use crate::guard::Guard;
use crate::jsonrpc::{self, Posted, Unreadable};
use crate::limits::MAX_BODY;
use crate::methods::Methods;
use crate::named_version::NamedVersion;
use crate::post::Post;
use crate::reply;
use crate::session::SessionKey;
use crate::version::Version;

/// The configuration of a server.
pub struct Config {
    /// The hosts and origins that it accepts.
    pub guard: Guard,
    /// The key that authenticates session ids.
    pub session_key: SessionKey,
    /// How long clients may cache lists (2026-07-28, `ttlMs`). Resources must not be cached.
    pub list_ttl: Duration,
}

/// A Model Context Protocol server.
pub struct Server<B: Backend> {
    guard: Guard,
    methods: Methods<B>,
}

impl<B: Backend> Server<B> {
    /// Creates a server.
    ///
    /// # Errors
    /// Serialisation failed, which does not happen with the current [`ServerInfo`](crate::ServerInfo).
    pub fn new(backend: Arc<B>, config: Config) -> serde_json::Result<Self> {
        Ok(Self {
            guard: config.guard,
            methods: Methods::new(backend, &config.session_key, config.list_ttl)?,
        })
    }

    /// The hosts and origins that it accepts.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Checks a request's head; see [`Guard::check`].
    ///
    /// # Errors
    /// The response to send instead of serving the request.
    pub fn check(&self, parts: &Parts) -> Result<(), Box<Response<Body>>> {
        self.guard.check(parts)
    }

    /// Answers a request of an authenticated caller. The transport must not read more than [`MAX_BODY`]
    /// bytes of body.
    ///
    /// Dropping the future or the response body means that the client disconnected. In 2026-07-28 that
    /// cancels the call; in earlier versions it does not.
    pub async fn handle(&self, caller: &B::Caller, parts: &Parts, body: &Bytes) -> Response<Body> {
        let accepted = match self.guard.accepted(parts) {
            Ok(accepted) => accepted,
            Err(refusal) => return *refusal,
        };
        let named = match NamedVersion::of(&parts.headers) {
            Ok(named) => named,
            Err(error) => return reply::error(Version::V2026_07_28, None, &error),
        };
        if body.len() > MAX_BODY {
            let message = format!("the body is longer than {MAX_BODY} bytes");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return reply::refusal(&parts.headers, status, INVALID_REQUEST, &message);
        }
        let post = Post {
            methods: &self.methods,
            caller,
            headers: &parts.headers,
            named,
            accepted,
        };
        match jsonrpc::read(body) {
            Ok(Posted::One(incoming)) => post.one(incoming).await,
            Ok(Posted::Batch(messages)) => post.batch(messages).await,
            Err(Unreadable { id, error }) => reply::error(named.assumed(), id, &error),
        }
    }
}
