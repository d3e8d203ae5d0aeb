//! The endpoint: takes a POST apart, finds out which version it speaks, and answers it.

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
use crate::named::Named;
use crate::post::Post;
use crate::reply;
use crate::session::SessionKey;
use crate::version::Version;

/// How a server behaves.
pub struct Config {
    /// What requests it takes.
    pub guard: Guard,
    /// Seals session ids.
    pub session_key: SessionKey,
    /// How long clients may keep lists (2026-07-28, `ttlMs`). What is read is never kept.
    pub list_ttl: Duration,
}

/// A Model Context Protocol server.
pub struct Server<B: Backend> {
    guard: Guard,
    methods: Methods<B>,
}

impl<B: Backend> Server<B> {
    /// Makes a server.
    ///
    /// # Errors
    /// Never with [`ServerInfo`](crate::ServerInfo) as it is; serialisation could fail in principle.
    pub fn new(backend: Arc<B>, config: Config) -> serde_json::Result<Self> {
        Ok(Self {
            guard: config.guard,
            methods: Methods::new(backend, &config.session_key, config.list_ttl)?,
        })
    }

    /// What requests it takes.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Checks a request's head; see [`Guard::check`].
    ///
    /// # Errors
    /// The reply to send instead of serving it.
    pub fn check(&self, parts: &Parts) -> Result<(), Box<Response<Body>>> {
        self.guard.check(parts)
    }

    /// Answers a request whose sender is known. The transport must not have read more than
    /// [`MAX_BODY`] of its body.
    ///
    /// Dropping the future, or the body of its response, means that the client left: in 2026-07-28
    /// that cancels the call, in the versions before it does not.
    pub async fn handle(&self, caller: &B::Caller, parts: &Parts, body: &Bytes) -> Response<Body> {
        let accepted = match self.guard.accepted(parts) {
            Ok(accepted) => accepted,
            Err(refusal) => return *refusal,
        };
        let named = match Named::of(&parts.headers) {
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
