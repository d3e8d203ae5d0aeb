//! The caller's identity and API session: `GET /v1/whoami`, `POST /v1/session` and `GET /v1/session`.

use std::borrow::Cow;

use ephyr_api::v1::{OpenSession, Session, WhoAmI};
use ephyr_audit::Event;
use ephyr_core::caller::{AgentCaller, Via};
use ephyr_policy::Policy;
use http::{Response, StatusCode};

use super::body::parse;
use super::error::ApiError;
use crate::broker::Broker;
use crate::clock;
use crate::response::{Body, json};

/// Returns the authenticated identity.
pub(super) fn who_am_i<'a>(policy: &'a Policy, caller: &'a AgentCaller) -> WhoAmI<'a> {
    WhoAmI {
        agent: Cow::Borrowed(caller.agent()),
        via: Cow::Borrowed(caller.via().as_str()),
        uid: uid(caller),
        task: caller.task(),
        description: policy
            .agent(caller.agent())
            .map_or(Cow::Borrowed(""), |agent| Cow::Borrowed(&agent.description)),
        policy: policy.hash(),
    }
}

/// Opens an API session.
pub(super) fn open(
    broker: &Broker,
    caller: &AgentCaller,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let asked = if body.is_empty() {
        OpenSession::default()
    } else {
        parse(body)?
    };
    if asked.agent_name.is_some_and(|name| name != *caller.agent()) {
        let message = format!(
            "{} is agent {}'s; leave agent_name out",
            caller.via().what(),
            caller.agent()
        );
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "not_your_name",
            message,
        ));
    }
    let opened = broker.sessions().open(caller.agent(), clock::now());
    broker
        .audit()
        .note(broker.record(Event::SessionOpened, caller));
    let session = Session {
        agent_name: Cow::Borrowed(caller.agent()),
        uid: uid(caller),
        expires_at: opened.expires,
        token: Some(opened.token.as_str().into()),
    };
    Ok(json(StatusCode::OK, &session))
}

/// Returns the caller's API session, without its token.
pub(super) fn show(broker: &Broker, caller: &AgentCaller) -> Result<Response<Body>, ApiError> {
    let Some(expires_at) = broker.sessions().expiry(caller.agent(), clock::now()) else {
        let message = "you have no session; POST /v1/session opens one";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_session", message));
    };
    let session = Session {
        agent_name: Cow::Borrowed(caller.agent()),
        uid: uid(caller),
        expires_at,
        token: None,
    };
    Ok(json(StatusCode::OK, &session))
}

/// Returns the UID, if the caller was authenticated by it.
fn uid(caller: &AgentCaller) -> Option<u32> {
    match caller.via() {
        Via::Uid(uid) => Some(uid),
        Via::Key | Via::Token => None,
    }
}
