//! The API on the Unix socket: plain JSON over HTTP for agents of this host and for the CLI.

mod error;
mod health;
mod route;

use std::sync::Arc;

use ephyr_audit::{DecisionInfo, Event};
use ephyr_names::{AgentName, Digest, RoleName, Serial, TargetName, TaskId, Timestamp, Ttl};
use ephyr_policy::{Purpose, SshAction, reachable};
use http::request::Parts;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::broker::Broker;
use crate::certificate;
use crate::clock;
use crate::http::{Body, json};
use crate::tools::{Certificates, Targets};
use ephyr_core::caller::{AgentCaller, Via};

pub use error::ApiError;
pub use health::health;
pub use route::Route;

#[derive(Serialize)]
struct WhoAmI<'a> {
    agent: &'a AgentName,
    via: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<TaskId>,
    description: &'a str,
    policy: Digest,
}

#[derive(Serialize)]
struct SessionView<'a> {
    agent_name: &'a AgentName,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenSession {
    #[serde(default)]
    agent_name: Option<AgentName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateRequest {
    target: TargetName,
    role: RoleName,
    #[serde(default)]
    duration: Option<Ttl>,
    public_key: String,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Granted<'a> {
    status: &'static str,
    certificate: &'a str,
    serial: Serial,
    principal: String,
    account: &'a str,
    host: &'a str,
    port: u16,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct Allowed {
    status: &'static str,
    ttl_seconds: u64,
}

/// Answers a call of the API.
pub async fn answer(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    route: Route,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    if let Some(locked) = crate::tools::locked(caller) {
        return ApiError::new(StatusCode::LOCKED, "locked", locked).response();
    }
    if let Err(error) = admit(broker, caller, route, head) {
        return error.response();
    }
    let policy = broker.policy();
    match route {
        Route::WhoAmI => {
            broker.note_read(caller, route.what());
            json(StatusCode::OK, &who_am_i(&policy, caller))
        }
        Route::Targets => {
            broker.note_read(caller, route.what());
            let found = reachable(&policy, caller.subject());
            json(StatusCode::OK, &Targets::of(&found))
        }
        Route::Certs => {
            broker.note_read(caller, route.what());
            json(StatusCode::OK, &Certificates::of(broker, caller))
        }
        Route::OpenSession => {
            open_session(broker, caller, body).unwrap_or_else(|error| error.response())
        }
        Route::Session => session(broker, caller).unwrap_or_else(|error| error.response()),
        Route::Request => {
            drop(policy);
            request(broker, caller, body)
                .await
                .unwrap_or_else(|error| error.response())
        }
    }
}

/// Counts a request against the policy's rate, whichever way it came in.
///
/// # Errors
/// 429, with the time to wait.
pub(crate) fn take_turn(broker: &Broker, caller: &AgentCaller) -> Result<(), ApiError> {
    let rate = broker.policy().global().rate_limit;
    let taken = broker
        .sessions()
        .take_turn(caller.agent(), rate, clock::now());
    let Err(seconds) = taken else { return Ok(()) };
    let mut record = broker.record(Event::RateLimited, caller);
    record.decision = Some(DecisionInfo {
        step: None,
        reason: "rate_limited".into(),
        rule: Some("global.rate_limit".into()),
    });
    broker.audit().note(record);
    let message = format!("more requests than global.rate_limit allows; try again in {seconds} s");
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
    Err(error.retry_after(seconds))
}

/// The rate of the policy, and the session token where one is given.
fn admit(
    broker: &Broker,
    caller: &AgentCaller,
    route: Route,
    head: &Parts,
) -> Result<(), ApiError> {
    take_turn(broker, caller)?;
    let Some(token) = head.headers.get("X-Session-Token") else {
        return Ok(());
    };
    if route == Route::OpenSession
        || broker
            .sessions()
            .accepts(caller.agent(), token.as_bytes(), clock::now())
    {
        return Ok(());
    }
    let mut record = broker.record(Event::AuthFailed, caller);
    record.decision = Some(DecisionInfo {
        step: None,
        reason: "session_invalid".into(),
        rule: None,
    });
    broker.audit().note(record);
    let message = "the session token is not valid or has expired; POST /v1/session opens a new one";
    Err(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "session_invalid",
        message,
    ))
}

fn uid(caller: &AgentCaller) -> Option<u32> {
    match caller.via() {
        Via::Uid(uid) => Some(uid),
        Via::Key | Via::Token => None,
    }
}

fn who_am_i<'a>(policy: &'a ephyr_policy::Policy, caller: &'a AgentCaller) -> WhoAmI<'a> {
    WhoAmI {
        agent: caller.agent(),
        via: caller.via().as_str(),
        uid: uid(caller),
        task: caller.task(),
        description: policy
            .agent(caller.agent())
            .map_or("", |agent| &agent.description),
        policy: policy.hash(),
    }
}

fn open_session(
    broker: &Broker,
    caller: &AgentCaller,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let asked: OpenSession = if body.is_empty() {
        OpenSession { agent_name: None }
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
    let view = SessionView {
        agent_name: caller.agent(),
        uid: uid(caller),
        expires_at: opened.expires,
        token: Some(&opened.token),
    };
    Ok(json(StatusCode::OK, &view))
}

fn session(broker: &Broker, caller: &AgentCaller) -> Result<Response<Body>, ApiError> {
    let Some(expires_at) = broker.sessions().expiry(caller.agent(), clock::now()) else {
        let message = "you have no session; POST /v1/session opens one";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_session", message));
    };
    let view = SessionView {
        agent_name: caller.agent(),
        uid: uid(caller),
        expires_at,
        token: None,
    };
    Ok(json(StatusCode::OK, &view))
}

async fn request(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let asked: CertificateRequest = parse(body)?;
    let action = SshAction {
        target: asked.target,
        role: asked.role,
        purpose: Purpose::User,
        ttl: asked.duration,
    };
    if asked.dry_run {
        let policy = broker.policy();
        return match broker
            .gate()
            .preview(&policy, caller.subject(), &action, clock::now())
        {
            Ok(granted) => {
                let ttl_seconds = granted.ttl().as_secs();
                Ok(json(
                    StatusCode::OK,
                    &Allowed {
                        status: "allowed",
                        ttl_seconds,
                    },
                ))
            }
            Err(denial) => Err(denial.into()),
        };
    }
    let (owned, caller) = (Arc::clone(broker), caller.clone());
    // A task of its own: who goes away in the middle leaves an outcome behind all the same.
    let issuing = tokio::spawn(async move {
        certificate::issue(&owned, &caller, action, &asked.public_key).await
    });
    let issued = issuing.await.map_err(|_| {
        let message = "the request broke off; the audit log says how far it came";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    })??;
    let target = &issued.target;
    let view = Granted {
        status: "granted",
        certificate: &issued.certificate,
        serial: issued.serial,
        principal: format!("{}/{}", target.name(), target.role()),
        account: target.account().as_str(),
        host: target.host(),
        port: target.port(),
        expires_at: issued.expires,
    };
    Ok(json(StatusCode::OK, &view))
}

fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, ApiError> {
    let bad = |why: &str| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            format!("the body: {why}"),
        )
    };
    // Derived parsers would take a list for the members in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad("a JSON object is expected"));
    }
    serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))
}
