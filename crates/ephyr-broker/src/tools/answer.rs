//! Parts of results and errors that several tools share.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_api::{
    CreatedTask, DenialDetails, EnvelopeJson, FailureReason, ReceiptView, TOKEN_TYPE, TaskPreview,
    TaskSummary,
};
use ephyr_core::state::TaskRecord;
use ephyr_mcp::{ToolError, ToolOutput};
use ephyr_names::Timestamp;
use ephyr_policy::Denial;
use ephyr_token::Receipt;

use crate::broker::Broker;
use crate::tasks::{Created, TaskError};

/// Maximum number of tasks in one answer of `task_list`, or of `task_revoke` as a dry run.
pub(super) const MOST_LISTED: usize = 1000;

/// Returns a denial in its wire format.
pub(crate) fn denial_details(denial: &Denial) -> DenialDetails<'_> {
    DenialDetails {
        step: denial.step,
        reason: Cow::Borrowed(denial.reason.as_str()),
        rule: Cow::Borrowed(&denial.rule),
        message: Cow::Borrowed(&denial.message),
        alternatives: Cow::Borrowed(&denial.alternatives),
    }
}

/// Returns a denial as a tool error: a message for the model and details for programs.
pub(super) fn denied(denial: &Denial) -> ToolError {
    let mut message = format!("denied at step {}: {}", denial.step, denial.message);
    if !denial.alternatives.is_empty() {
        message.push_str("; allowed would be: ");
        message.push_str(&denial.alternatives.join(", "));
    }
    ToolError::with_details(message, &denial_details(denial)).unwrap_or_else(ToolError::from)
}

/// Returns a task error as a tool error.
pub(super) fn failed(error: &TaskError) -> ToolError {
    let details = FailureReason {
        reason: Cow::Borrowed(error.code()),
    };
    ToolError::with_details(error.to_string(), &details).unwrap_or_else(ToolError::from)
}

/// Returns a receipt in its wire format.
pub(super) fn receipt(receipt: &Receipt) -> ReceiptView {
    ReceiptView {
        record: receipt.record,
        record_hash: receipt.record_hash,
        certificate: receipt.certificate,
        signature: URL_SAFE_NO_PAD.encode(receipt.signature),
        text: receipt.to_string(),
    }
}

/// Returns the envelope of a task in its wire format.
pub(super) fn envelope(record: &TaskRecord) -> Result<EnvelopeJson<'_>, ToolError> {
    EnvelopeJson::new(&record.envelope)
        .map_err(|_| ToolError::internal("the task's envelope is unreadable"))
}

/// Returns the result for a created task.
pub(super) fn created(created: &Created) -> Result<ToolOutput, ToolError> {
    let record = &created.record;
    Ok(ToolOutput::json(&CreatedTask {
        task_id: record.id,
        token: created.token.as_text().into(),
        token_type: Cow::Borrowed(TOKEN_TYPE),
        expires_at: record.expires,
        ttl_seconds: record.expires.since(record.created).as_secs(),
        can_delegate: record.can_delegate,
        holder_bound: record.holder.is_some(),
        bind_deadline: record.bind_deadline,
        agent: Cow::Borrowed(&record.agent),
        envelope: envelope(record)?,
        receipt: created.receipt.as_ref().map(receipt),
    })?)
}

/// Returns the result of a dry run that was refused.
pub(super) fn would_fail(error: &TaskError) -> Result<ToolOutput, ToolError> {
    let refused = ephyr_api::Decision::refused(error.code(), error.to_string());
    Ok(ToolOutput::json(&TaskPreview::from(refused))?)
}

/// Returns a task's summary for lists.
pub(super) fn summary<'a>(
    broker: &Broker,
    record: &'a TaskRecord,
    now: Timestamp,
) -> TaskSummary<'a> {
    TaskSummary {
        id: record.id,
        description: Cow::Borrowed(&record.description),
        agent: Cow::Borrowed(&record.agent),
        created_at: record.created,
        expires_at: record.expires,
        remaining_ttl: record.expires.since(now).as_secs(),
        is_revoked: broker.state().revoked(&record.lineage).is_some(),
        holder_bound: record.holder.is_some(),
        depth: record.depth(),
        root: record.root(),
        parent: record.parent(),
    }
}
