//! Parts that several answers share.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_mcp::ToolError;
use ephyr_names::{Digest, RecordId, Ttl};
use ephyr_policy::{Denial, ReasonCode};
use ephyr_token::Receipt;
use serde::Serialize;

/// What the policy says, as `dry_run` answers it.
#[derive(Serialize)]
pub(crate) struct DecisionView<'a> {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    alternatives: &'a [String],
}

impl<'a> DecisionView<'a> {
    /// Yes.
    pub(crate) fn allowed(ttl: Ttl) -> Self {
        Self {
            allowed: true,
            step: None,
            reason: None,
            rule: None,
            message: None,
            ttl_seconds: Some(ttl.as_secs()),
            alternatives: &[],
        }
    }

    /// No.
    pub(crate) fn denied(denial: &'a Denial) -> Self {
        Self {
            allowed: false,
            step: Some(denial.step),
            reason: Some(denial.reason),
            rule: Some(&denial.rule),
            message: Some(&denial.message),
            ttl_seconds: None,
            alternatives: &denial.alternatives,
        }
    }
}

/// A denial as a tool's failure: the sentence for the model, the rest for programs.
pub(crate) fn denied(denial: &Denial) -> ToolError {
    let mut message = format!("denied at step {}: {}", denial.step, denial.message);
    if !denial.alternatives.is_empty() {
        message.push_str("; allowed would be: ");
        message.push_str(&denial.alternatives.join(", "));
    }
    ToolError::with_details(message, denial).unwrap_or_else(ToolError::from)
}

/// A receipt as answers give it.
#[derive(Serialize)]
pub(crate) struct ReceiptView {
    record: RecordId,
    record_hash: Digest,
    certificate: Digest,
    signature: String,
    text: String,
}

impl ReceiptView {
    /// The view of a receipt.
    pub(crate) fn of(receipt: &Receipt) -> Self {
        Self {
            record: receipt.record,
            record_hash: receipt.record_hash,
            certificate: receipt.certificate,
            signature: URL_SAFE_NO_PAD.encode(receipt.signature),
            text: receipt.to_string(),
        }
    }
}
