//! Checks before a request is handled: the policy's rate limit, and the session token if there is one.

use ephyr_audit::{DecisionInfo, Event};
use ephyr_core::caller::AgentCaller;
use http::StatusCode;
use http::request::Parts;

use super::error::ApiError;
use crate::broker::Broker;
use crate::clock;

/// Counts a request against the policy's rate limit, which covers both listeners.
///
/// # Errors
/// 429, with the time to wait.
pub(crate) fn count_request(broker: &Broker, caller: &AgentCaller) -> Result<(), ApiError> {
    let rate = broker.policy().global().rate_limit;
    let taken = broker
        .limits()
        .count_request(caller.agent(), rate, clock::now());
    let Err(seconds) = taken else { return Ok(()) };
    let rule = Some("global.rate_limit");
    note_refusal(broker, caller, Event::RateLimited, "rate_limited", rule);
    let message = format!("more requests than global.rate_limit allows; try again in {seconds} s");
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
    Err(error.retry_after(seconds))
}

/// Checks the session token, if the request has one.
///
/// # Errors
/// 401 if the token is not that of the caller's session.
pub(super) fn check_session(
    broker: &Broker,
    caller: &AgentCaller,
    head: &Parts,
) -> Result<(), ApiError> {
    let Some(token) = head.headers.get("X-Session-Token") else {
        return Ok(());
    };
    let accepted = broker
        .sessions()
        .accepts(caller.agent(), token.as_bytes(), clock::now());
    if accepted {
        return Ok(());
    }
    note_refusal(broker, caller, Event::AuthFailed, "session_invalid", None);
    let message = "the session token is not valid or has expired; POST /v1/session opens a new one";
    Err(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "session_invalid",
        message,
    ))
}

fn note_refusal(
    broker: &Broker,
    caller: &AgentCaller,
    event: Event,
    reason: &str,
    rule: Option<&str>,
) {
    let mut record = broker.record(event, caller);
    record.decision = Some(DecisionInfo {
        step: None,
        reason: reason.into(),
        rule: rule.map(Into::into),
    });
    broker.audit().note(record);
}
