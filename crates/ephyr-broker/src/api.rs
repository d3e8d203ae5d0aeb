//! The API on the Unix socket: JSON over HTTP for agents of this host and the CLI, with the messages of
//! [`ephyr_api::v1`].

mod admission;
mod body;
mod error;
mod health;
mod request;
mod route;
mod session;

use std::sync::Arc;

use ephyr_core::caller::AgentCaller;
use ephyr_policy::reachable;
use http::request::Parts;
use http::{Response, StatusCode};

use crate::broker::Broker;
use crate::response::{Body, json};
use crate::tools::{certificate_list, locked, target_list};

pub(crate) use admission::count_request;
pub use error::ApiError;
pub use health::health;
pub use route::Route;

/// Answers a call of the API.
pub async fn answer(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    route: Route,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    let answered = call(broker, caller, route, head, body).await;
    answered.unwrap_or_else(|error| error.response())
}

async fn call(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    route: Route,
    head: &Parts,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    if let Some(locked) = locked(caller) {
        return Err(ApiError::new(StatusCode::LOCKED, "locked", locked));
    }
    count_request(broker, caller)?;
    // A request to open a session needs no valid one.
    if route != Route::OpenSession {
        admission::check_session(broker, caller, head)?;
    }
    if let Some(read) = route.as_read() {
        broker.note_read(caller, read);
    }
    match route {
        Route::WhoAmI => {
            let policy = broker.policy();
            Ok(json(StatusCode::OK, &session::who_am_i(&policy, caller)))
        }
        Route::Targets => {
            let policy = broker.policy();
            let found = reachable(&policy, caller.subject());
            Ok(json(StatusCode::OK, &target_list(&found)))
        }
        Route::Certs => Ok(json(StatusCode::OK, &certificate_list(broker, caller))),
        Route::OpenSession => session::open(broker, caller, body),
        Route::Session => session::show(broker, caller),
        Route::Request => request::answer(broker, caller, body).await,
    }
}
