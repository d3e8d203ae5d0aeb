//! Handling of one POST: determines the protocol version, checks that version's rules, and responds.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::value::RawValue;

use crate::backend::Backend;
use crate::body::Body;
use crate::error::{INTERNAL_ERROR, RpcError};
use crate::headers::{self, Accepted};
use crate::jsonrpc::{Id, Incoming};
use crate::limits::KEEP_ALIVE;
use crate::methods::{DispatchResult, Methods};
use crate::named_version::NamedVersion;
use crate::params::Params;
use crate::reply;
use crate::reply_context::ReplyContext;
use crate::request::Request;
use crate::running::{CallUpdate, EventStream, RunningCall, event};
use crate::session::McpSession;
use crate::suggest::quoted;
use crate::version::Version;

/// One POST.
pub(crate) struct Post<'a, B: Backend> {
    pub(crate) methods: &'a Methods<B>,
    pub(crate) caller: &'a B::Caller,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) named: NamedVersion<'a>,
    pub(crate) accepted: Accepted,
}

impl<B: Backend> Post<'_, B> {
    pub(crate) async fn one(&self, incoming: Incoming<'_>) -> Response<Body> {
        match incoming {
            Incoming::Response => self.response(),
            Incoming::Notification { method, params } => {
                let params = Params::read(params).unwrap_or_default();
                match self.notification(&method, &params) {
                    Ok(()) => reply::taken(),
                    Err(error) => reply::error(self.named.assumed(), None, &error),
                }
            }
            Incoming::Request { id, method, params } => {
                let request = match self.request(id, &method, params, self.accepted.events) {
                    Ok(request) => request,
                    Err(refused) => return reply::error(refused.version, Some(id), &refused.error),
                };
                self.answer(request).await
            }
        }
    }

    /// Answers an unexpected response. The 2025 versions require it to be accepted.
    fn response(&self) -> Response<Body> {
        let version = self.named.assumed();
        if version.is_modern() {
            let error =
                RpcError::invalid_request("this server sends no requests and accepts no responses");
            return reply::error(version, None, &error);
        }
        reply::taken()
    }

    pub(crate) fn notification(&self, method: &str, params: &Params<'_>) -> Result<(), RpcError> {
        if !method.starts_with("notifications/") {
            let message = format!("{} needs an id", quoted(method));
            return Err(RpcError::invalid_request(message));
        }
        let version = match self.named {
            NamedVersion::Unsupported(text) => return Err(RpcError::unsupported_version(text)),
            NamedVersion::Served(version) => version,
            NamedVersion::Absent => Version::UNNAMED,
        };
        // In 2026-07-28 closing the connection cancels; the notification is for stdio only.
        if version.is_modern() {
            return Ok(());
        }
        let session = self.session()?;
        if method == "notifications/cancelled"
            && let Some(id) = params.request_id()
        {
            self.methods.cancel(self.caller, id, session);
        }
        Ok(())
    }

    /// Returns the session named by the request, if any; it must be the caller's own.
    pub(crate) fn session(&self) -> Result<Option<McpSession>, RpcError> {
        let Some(id) = headers::single(self.headers, &headers::SESSION_ID)? else {
            return Ok(None);
        };
        match self.methods.session(self.caller, id.as_bytes()) {
            Some(session) => Ok(Some(session)),
            None => Err(RpcError::invalid_request(
                "unknown session id; send initialize without one",
            )
            .with_status(StatusCode::NOT_FOUND)),
        }
    }

    /// Determines the version of a request and checks that version's rules.
    pub(crate) fn request<'r>(
        &'r self,
        id: Id<'r>,
        method: &'r str,
        params: Option<&'r RawValue>,
        streams: bool,
    ) -> Result<Request<'r, B::Caller>, RequestError> {
        let early = |error| RequestError {
            version: self.named.assumed(),
            error,
        };
        let params = Params::read(params).map_err(early)?;
        let version = self.version(method, &params).map_err(early)?;
        let refused = |error| RequestError { version, error };
        let session = if version.is_modern() {
            self.check_modern(method, &params).map_err(refused)?;
            None
        } else if method == "initialize" {
            None
        } else {
            self.session().map_err(refused)?
        };
        Ok(Request {
            caller: self.caller,
            context: ReplyContext::new(version, id, self.methods.info()),
            id,
            method,
            params,
            session,
            streams,
        })
    }

    /// Returns the version of a request. `initialize` belongs to the 2025 versions, regardless of the header.
    /// Otherwise header and `_meta` must agree; without both, the session's version applies, or else the
    /// oldest.
    fn version(&self, method: &str, params: &Params<'_>) -> Result<Version, RpcError> {
        let inside = params.meta.protocol_version()?;
        if method == "initialize" && inside.is_none() {
            return Ok(Version::LATEST_LEGACY);
        }
        let inside = inside.as_deref().map(NamedVersion::from_text);
        match (self.named, inside) {
            (NamedVersion::Unsupported(text), None) => Err(RpcError::unsupported_version(text)),
            (NamedVersion::Served(version), None) => Ok(version),
            (NamedVersion::Absent, None) => {
                let session = self.session()?;
                Ok(session.map_or(Version::UNNAMED, |session| session.version))
            }
            (NamedVersion::Absent, Some(NamedVersion::Served(version))) if !version.is_modern() => {
                Ok(version)
            }
            (NamedVersion::Absent, Some(NamedVersion::Unsupported(text))) => {
                Err(RpcError::unsupported_version(text))
            }
            (NamedVersion::Absent, Some(_)) => Err(RpcError::header_mismatch(
                "the header mcp-protocol-version is missing: it must repeat the body's value",
            )),
            (NamedVersion::Unsupported(text), Some(NamedVersion::Unsupported(other)))
                if text == other =>
            {
                Err(RpcError::unsupported_version(text))
            }
            (NamedVersion::Served(version), Some(NamedVersion::Served(other)))
                if version == other =>
            {
                Ok(version)
            }
            (_, Some(_)) => Err(RpcError::header_mismatch(
                "the header mcp-protocol-version does not repeat the body's value",
            )),
        }
    }

    fn check_modern(&self, method: &str, params: &Params<'_>) -> Result<(), RpcError> {
        let subject = params.subject(method)?;
        headers::check_mirrors(self.headers, method, subject.as_deref())?;
        params.meta.check_modern()
    }

    async fn answer(&self, request: Request<'_, B::Caller>) -> Response<Body> {
        let version = request.context.version;
        match self.methods.dispatch(&request).await {
            DispatchResult::Done(message) => self.reply(StatusCode::OK, message),
            DispatchResult::Opened(message, session) => {
                let mut response = self.reply(StatusCode::OK, message);
                if let Ok(session) = HeaderValue::try_from(session) {
                    response.headers_mut().insert(headers::SESSION_ID, session);
                }
                response
            }
            DispatchResult::Failed(error) => {
                self.reply(error.status(version), request.context.error(&error))
            }
            DispatchResult::Running(running, token) => {
                self.watch(request.context, running, token).await
            }
        }
    }

    pub(crate) fn reply(&self, status: StatusCode, message: Bytes) -> Response<Body> {
        // An error of the transport is JSON regardless of `Accept`.
        if self.accepted.json || status != StatusCode::OK {
            return reply::json(status, message);
        }
        reply::events(Body::full(event(&message)))
    }

    /// Responds with JSON if the call ends within [`KEEP_ALIVE`] without progress, else with an event stream.
    async fn watch(
        &self,
        context: ReplyContext,
        mut running: RunningCall,
        token: Option<Bytes>,
    ) -> Response<Body> {
        if !self.accepted.events {
            let update = running.answer().await;
            return match update.answer(&context) {
                Some(message) => self.reply(StatusCode::OK, message),
                None => reply::error(context.version, None, &call_lost()),
            };
        }
        let early = running.update_within(KEEP_ALIVE).await;
        match early {
            Some(update) if !matches!(update, CallUpdate::Progress(_)) => {
                match update.answer(&context) {
                    Some(message) => self.reply(StatusCode::OK, message),
                    None => reply::error(context.version, None, &call_lost()),
                }
            }
            early => {
                let stream = EventStream::new(context, token, early, running);
                reply::events(Body::events(stream))
            }
        }
    }
}

/// Why a request was rejected, and the version of the error response.
pub(crate) struct RequestError {
    version: Version,
    pub(crate) error: RpcError,
}

pub(crate) fn call_lost() -> RpcError {
    RpcError::new(INTERNAL_ERROR, "the call ended without an answer")
}
