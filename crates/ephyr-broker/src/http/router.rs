//! Routes requests by path and authenticates their callers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ephyr_audit::{DecisionInfo, Event};
use ephyr_core::caller::Caller;
use ephyr_http::{BodyError, Peer, Service, UnreadBody};
use ephyr_mcp::{
    Config, Guard, INVALID_REQUEST, MAX_BODY, Origin, Server, SessionKey, SourceError,
};
use http::header::{CONNECTION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use super::{head, oauth};
use crate::api::{self, ApiError, Route};
use crate::auth::{self, Admitted, AuthError};
use crate::broker::Broker;
use crate::response::{Body, json};

/// The path of MCP.
const MCP: &str = "/mcp";
/// Delay of the answer to a failed authentication that looks like guessing.
const GUESS_DELAY: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 1000 });
/// How long MCP clients may cache the list of tools; a reload can change it.
const LIST_TTL: Duration = Duration::from_secs(30);

/// The listener that a router serves.
pub enum Entrypoint {
    /// The Unix socket: MCP and the API.
    Unix,
    /// A loopback port: MCP, health and whoami.
    Tcp {
        /// Web origins that may call.
        origins: Vec<Origin>,
    },
}

/// Routes the requests of one entrypoint.
pub struct Router {
    broker: Arc<Broker>,
    mcp: Server<Broker>,
    api: bool,
}

/// A request whose head was accepted.
pub(crate) enum Request {
    /// An MCP message.
    Mcp(Peer, Admitted),
    /// A call of the API by an agent.
    Api(Peer, Route, Admitted),
}

impl Router {
    /// Returns a router for one entrypoint.
    ///
    /// # Errors
    /// Never in practice: the serialised values are constant.
    pub fn new(
        broker: Arc<Broker>,
        entrypoint: Entrypoint,
        session_key: SessionKey,
    ) -> serde_json::Result<Self> {
        let (guard, api) = match entrypoint {
            Entrypoint::Unix => (Guard::unix_socket(), true),
            Entrypoint::Tcp { origins } => (
                Guard {
                    origins,
                    ..Guard::loopback()
                },
                false,
            ),
        };
        let config = Config {
            guard,
            session_key,
            list_ttl: LIST_TTL,
        };
        Ok(Self {
            mcp: Server::new(Arc::clone(&broker), config)?,
            broker,
            api,
        })
    }

    async fn authenticate(&self, peer: Peer, head: &Parts) -> Result<Admitted, Response<Body>> {
        match auth::admit(&self.broker, peer, &head.headers).await {
            Ok(admitted) => Ok(admitted),
            Err(error) => {
                self.note_failure(peer, &error);
                if error.is_guess() {
                    tokio::time::sleep(GUESS_DELAY).await;
                }
                Err(unauthorised(&error))
            }
        }
    }

    fn note_failure(&self, peer: Peer, error: &AuthError) {
        let event = if matches!(error, AuthError::Busy(_)) {
            Event::RateLimited
        } else {
            Event::AuthFailed
        };
        let peer = match peer {
            Peer::Uid(uid) => format!("uid {uid}"),
            Peer::Ip(address) => address.to_string(),
        };
        let mut record = self.broker.own_record(event).with_detail("peer", peer);
        record.decision = Some(DecisionInfo {
            step: None,
            reason: error.code().into(),
            rule: None,
        });
        self.broker.audit().note(record);
    }

    /// Returns whether the peer sees the details of health: agents and operators, by UID.
    fn sees_details(&self, peer: Peer) -> bool {
        match peer {
            Peer::Uid(uid) => Caller::of_uid(&self.broker.policy(), uid).is_some(),
            Peer::Ip(_) => false,
        }
    }

    /// Returns the response to a request that ends at its head, on any path: a refusal or a browser's preflight.
    fn answer_to_head(&self, head: &Parts) -> Option<Response<Body>> {
        // This check comes first: later code reads only the first of repeated headers.
        if let Err(error) = head::check(head) {
            let codes = (error.code(), error.rpc_code());
            return Some(refusal(head, error.status(), codes, &error.to_string()));
        }
        let guard = self.mcp.guard();
        if let Err(error) = guard.check_source(head) {
            let code = match error {
                SourceError::Host => "host_refused",
                SourceError::Origin => "origin_refused",
            };
            let codes = (code, INVALID_REQUEST);
            let message = error.to_string();
            return Some(refusal(head, StatusCode::FORBIDDEN, codes, &message));
        }
        guard
            .preflight(head)
            .map(|response| response.map(Body::Mcp))
    }

    fn route(&self, head: &Parts) -> Result<Route, ApiError> {
        let route = Route::of(head)?;
        if self.api || route == Route::WhoAmI {
            Ok(route)
        } else {
            Err(ApiError::not_found())
        }
    }
}

impl Router {
    /// Checks a request's head: authenticates the caller and finds what is requested.
    ///
    /// # Errors
    /// The response to a request that ends here, before its body is read.
    pub(crate) async fn admit(&self, peer: Peer, head: &Parts) -> Result<Request, Response<Body>> {
        if let Some(answer) = self.answer_to_head(head) {
            return Err(answer);
        }
        match head.uri.path() {
            MCP => {
                if let Err(refusal) = self.mcp.check(head) {
                    return Err(refusal.map(Body::Mcp));
                }
                self.authenticate(peer, head)
                    .await
                    .map(|admitted| Request::Mcp(peer, admitted))
            }
            // Needs no authentication, so no body is read.
            "/v1/health" if head.method == Method::GET => {
                let health = api::health(&self.broker, self.sees_details(peer));
                Err(json(StatusCode::OK, &health))
            }
            path if oauth::asks(path) => Err(oauth::refusal()),
            _ => {
                let route = self.route(head).map_err(|error| error.response())?;
                self.authenticate(peer, head)
                    .await
                    .map(|admitted| Request::Api(peer, route, admitted))
            }
        }
    }

    /// Answers an admitted request.
    pub(crate) async fn answer(
        &self,
        request: Request,
        head: Parts,
        body: Bytes,
    ) -> Response<Body> {
        let proven = |admitted: Admitted| admitted.caller(&self.broker, &head, &body);
        let refused = |peer, error: &AuthError| {
            self.note_failure(peer, error);
            unauthorised(error)
        };
        match request {
            Request::Mcp(peer, admitted) => match proven(admitted) {
                Ok(caller) => match api::count_request(&self.broker, &caller) {
                    Ok(()) => self.mcp.handle(&caller, &head, &body).await.map(Body::Mcp),
                    Err(error) => error.response(),
                },
                Err(error) => refused(peer, &error),
            },
            Request::Api(peer, route, admitted) => match proven(admitted) {
                Ok(caller) => api::answer(&self.broker, &caller, route, &head, &body).await,
                Err(error) => refused(peer, &error),
            },
        }
    }

    /// The body is read only after the head was admitted: unknown callers cannot make the broker hold a body in memory.
    async fn admit_and_answer(&self, peer: Peer, head: Parts, body: UnreadBody) -> Response<Body> {
        let request = match self.admit(peer, &head).await {
            Ok(request) => request,
            Err(response) => {
                body.refuse();
                return response;
            }
        };
        match body.accept().collect(MAX_BODY).await {
            Ok(body) => self.answer(request, head, body).await,
            Err(error) => bad_body(&head, error),
        }
    }
}

impl Service for Router {
    type Body = Body;

    async fn call(self: Arc<Self>, peer: Peer, head: Parts, body: UnreadBody) -> Response<Body> {
        let guard = self.mcp.guard();
        let origin = guard.allowed_origin(&head);
        let mut response = self.admit_and_answer(peer, head, body).await;
        guard.expose(origin, response.headers_mut());
        response
    }
}

/// Returns the response to an admitted request whose body could not be read.
fn bad_body(head: &Parts, error: BodyError) -> Response<Body> {
    let (status, message) = match error {
        BodyError::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is longer than 1 MiB",
        ),
        BodyError::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive within 15 s",
        ),
        BodyError::Broken => (StatusCode::BAD_REQUEST, "the body broke off"),
    };
    let mut response = refusal(head, status, ("bad_body", INVALID_REQUEST), message);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Refuses a request in the format of its path: a JSON-RPC error at the MCP endpoint, an API error elsewhere. `codes`
/// are the API's and JSON-RPC's.
fn refusal(
    head: &Parts,
    status: StatusCode,
    (code, rpc_code): (&str, i32),
    message: &str,
) -> Response<Body> {
    if head.uri.path() == MCP {
        ephyr_mcp::refusal(&head.headers, status, rpc_code, message).map(Body::Mcp)
    } else {
        ApiError::new(status, code, message).response()
    }
}

fn unauthorised(error: &AuthError) -> Response<Body> {
    let status = match error {
        AuthError::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
        AuthError::UnknownUid(_) | AuthError::KeyOnSocket => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    let mut answer = ApiError::new(status, error.code(), error.to_string());
    if let AuthError::Busy(seconds) = error {
        answer = answer.retry_after(*seconds);
    }
    let mut response = answer.response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"ephyr\""),
        );
    }
    response
}
