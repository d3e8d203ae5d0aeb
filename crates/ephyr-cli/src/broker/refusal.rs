//! Converts failures that the broker reports, and chooses their exit status.

use std::fmt;

use ephyr_api::FailureDetails;
use http::StatusCode;
use serde::Deserialize as _;

use super::message::ToolResult;
use crate::failure::{DATA, DENIED, Failure, INTERRUPTED, TEMPORARY, UNAVAILABLE};

/// Returns the failure of a tool call: a denial, or an error on the way to the target.
pub(super) fn tool_failed(result: ToolResult) -> Failure {
    let text = result
        .content
        .into_iter()
        .map(|content| content.text)
        .collect::<Vec<_>>()
        .join("\n");
    let received = result.meta.error;
    let details = FailureDetails::deserialize(&received).ok();
    let code = details.as_ref().map_or("failed", FailureDetails::reason);
    let exit = match &details {
        Some(FailureDetails::Denied(_)) => DENIED,
        Some(FailureDetails::Exec(failure)) if failure.started => INTERRUPTED,
        _ => status_of(code),
    };
    Failure::new(exit, code, text).with_details(received)
}

/// Returns the exit status for the reason code of a call that had no effect.
fn status_of(reason: &str) -> u8 {
    match reason {
        "bad_arguments" | "ttl_out_of_range" | "task_not_found" => DATA,
        "token_makes_no_root"
        | "token_required"
        | "not_your_task"
        | "token_narrowed"
        | "not_bound"
        | "already_bound"
        | "holder_required"
        | "proof_invalid"
        | "mint_refused"
        | "agent_unknown"
        | "delegated_only"
        | "delegation_not_accepted"
        | "task_revoked"
        | "task_ended" => DENIED,
        "audit_unavailable"
        | "state_unavailable"
        | "journal_unavailable"
        | "signer_unavailable"
        | "no_epoch"
        | "too_many_tasks"
        | "rate_limited"
        | "policy_mismatch" => TEMPORARY,
        _ => UNAVAILABLE,
    }
}

/// Returns the failure of a call that the broker refused before the tool ran.
pub(super) fn refused(status: StatusCode, code: Option<&str>, text: &str) -> Failure {
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => DENIED,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => TEMPORARY,
        _ => DATA,
    };
    let code = code.unwrap_or("refused");
    Failure::new(
        exit,
        code,
        format!("the broker refused the request: {text}"),
    )
}

/// Returns the failure of a response that cannot be parsed; it names the HTTP status if that is an error.
pub(super) fn unreadable(status: StatusCode, error: impl fmt::Display) -> Failure {
    if status.is_success() {
        Failure::protocol(error)
    } else {
        Failure::protocol(format!("HTTP status {status}"))
    }
}
