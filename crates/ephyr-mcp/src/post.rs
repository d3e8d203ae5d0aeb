//! One POST: which version it speaks, what that version demands of it, and how it is answered.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::value::RawValue;

use crate::addressee::Addressee;
use crate::backend::Backend;
use crate::body::Body;
use crate::error::{INTERNAL_ERROR, RpcError};
use crate::headers::{self, Accepted};
use crate::jsonrpc::{Id, Incoming};
use crate::limits::KEEP_ALIVE;
use crate::methods::{Methods, Outcome};
use crate::named::Named;
use crate::params::Params;
use crate::reply;
use crate::request::Request;
use crate::running::{EventStream, News, Running, event};
use crate::session::Session;
use crate::suggest::quoted;
use crate::version::Version;

/// One POST.
pub(crate) struct Post<'a, B: Backend> {
    pub(crate) methods: &'a Methods<B>,
    pub(crate) caller: &'a B::Caller,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) named: Named<'a>,
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

    /// An answer to a question that was never asked. The 2025 versions want it taken.
    fn response(&self) -> Response<Body> {
        let version = self.named.assumed();
        if version.is_modern() {
            let error =
                RpcError::invalid_request("this server asks nothing, so it takes no answer");
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
            Named::Unknown(text) => return Err(RpcError::unsupported_version(text)),
            Named::Served(version) => version,
            Named::Nothing => Version::UNNAMED,
        };
        // From 2026-07-28 on a client cancels by leaving, and says so only on stdio.
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

    /// The session that the request names, if any; it must be the caller's own.
    pub(crate) fn session(&self) -> Result<Option<Session>, RpcError> {
        let Some(id) = headers::single(self.headers, &headers::SESSION_ID)? else {
            return Ok(None);
        };
        match self.methods.session(self.caller, id.as_bytes()) {
            Some(session) => Ok(Some(session)),
            None => Err(RpcError::invalid_request(
                "there is no such session here; send initialize without a session id",
            )
            .with_status(StatusCode::NOT_FOUND)),
        }
    }

    /// Finds out the version of a request and checks what that version demands of it.
    pub(crate) fn request<'r>(
        &'r self,
        id: Id<'r>,
        method: &'r str,
        params: Option<&'r RawValue>,
        streams: bool,
    ) -> Result<Request<'r, B::Caller>, Refused> {
        let early = |error| Refused {
            version: self.named.assumed(),
            error,
        };
        let params = Params::read(params).map_err(early)?;
        let version = self.version(method, &params).map_err(early)?;
        let refused = |error| Refused { version, error };
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
            to: Addressee::new(version, id, self.methods.info()),
            id,
            method,
            params,
            session,
            streams,
        })
    }

    /// `initialize` opens the handshake of the 2025 versions, whatever the header says. Otherwise
    /// header and `_meta` must agree; a request with neither is of the oldest version, unless its
    /// session says more.
    fn version(&self, method: &str, params: &Params<'_>) -> Result<Version, RpcError> {
        let inside = params.meta.protocol_version()?;
        if method == "initialize" && inside.is_none() {
            return Ok(Version::LATEST_LEGACY);
        }
        let inside = inside.as_deref().map(Named::from_text);
        match (self.named, inside) {
            (Named::Unknown(text), None) => Err(RpcError::unsupported_version(text)),
            (Named::Served(version), None) => Ok(version),
            (Named::Nothing, None) => {
                let session = self.session()?;
                Ok(session.map_or(Version::UNNAMED, |session| session.version))
            }
            (Named::Nothing, Some(Named::Served(version))) if !version.is_modern() => Ok(version),
            (Named::Nothing, Some(Named::Unknown(text))) => {
                Err(RpcError::unsupported_version(text))
            }
            (Named::Nothing, Some(_)) => Err(RpcError::header_mismatch(
                "the header mcp-protocol-version is missing: it must repeat the body's value",
            )),
            (Named::Unknown(text), Some(Named::Unknown(other))) if text == other => {
                Err(RpcError::unsupported_version(text))
            }
            (Named::Served(version), Some(Named::Served(other))) if version == other => Ok(version),
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
        let version = request.to.version;
        match self.methods.dispatch(&request).await {
            Outcome::Done(message) => self.reply(StatusCode::OK, message),
            Outcome::Opened(message, session) => {
                let mut response = self.reply(StatusCode::OK, message);
                if let Ok(session) = HeaderValue::try_from(session) {
                    response.headers_mut().insert(headers::SESSION_ID, session);
                }
                response
            }
            Outcome::Failed(error) => self.reply(error.status(version), request.to.error(&error)),
            Outcome::Running(running, token) => self.watch(request.to, running, token).await,
        }
    }

    pub(crate) fn reply(&self, status: StatusCode, message: Bytes) -> Response<Body> {
        // An error that is not 200 is JSON whatever the client accepts: it is the transport's answer.
        if self.accepted.json || status != StatusCode::OK {
            return reply::json(status, message);
        }
        reply::events(Body::full(event(&message)))
    }

    /// Answers with JSON if the call ends soon and says nothing before, else with events.
    async fn watch(
        &self,
        to: Addressee,
        mut running: Running,
        token: Option<Bytes>,
    ) -> Response<Body> {
        if !self.accepted.events {
            let news = running.answer().await;
            return match news.answer(&to) {
                Some(message) => self.reply(StatusCode::OK, message),
                None => reply::error(to.version, None, &lost()),
            };
        }
        let early = running.news_within(KEEP_ALIVE).await;
        match early {
            Some(news) if !matches!(news, News::Progress(_)) => match news.answer(&to) {
                Some(message) => self.reply(StatusCode::OK, message),
                None => reply::error(to.version, None, &lost()),
            },
            early => {
                let stream = EventStream::new(to, token, early, running);
                reply::events(Body::events(stream))
            }
        }
    }
}

/// A request that was turned away, in the version that it speaks.
pub(crate) struct Refused {
    version: Version,
    pub(crate) error: RpcError,
}

pub(crate) fn lost() -> RpcError {
    RpcError::new(INTERNAL_ERROR, "the call ended without an answer")
}
