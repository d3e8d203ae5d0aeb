//! Results of tool calls, and the failures that the model reads.

use bytes::Bytes;
use serde::Serialize;

use crate::json::{push_indented_text, push_string, push_value};

/// The serialised result of a tool call: `structuredContent`, and the same JSON indented in a text block
/// for clients without support for structured results. Cheap to clone, so a backend may cache it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput(Bytes);

impl ToolOutput {
    /// Serialises a result. It must be a JSON object, the only type before 2026-07-28.
    ///
    /// # Errors
    /// The value cannot be serialised, or is not an object.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, OutputError> {
        // Most results fit, which avoids copies while the buffer grows.
        let mut out = Vec::with_capacity(1536);
        out.extend_from_slice(br#""structuredContent":"#);
        let start = out.len();
        push_value(&mut out, value)?;
        if out.get(start) != Some(&b'{') {
            return Err(OutputError::NotAnObject);
        }
        let compact = start..out.len();
        // Escapes and indentation make the text longer than the compact form.
        out.reserve(2 * compact.len());
        out.extend_from_slice(br#","content":[{"type":"text","text":"#);
        push_indented_text(&mut out, compact);
        out.extend_from_slice(br#"}],"isError":false"#);
        Ok(Self(Bytes::from(out)))
    }

    /// Returns the members of `CallToolResult`, without the braces.
    pub(crate) fn members(&self) -> &Bytes {
        &self.0
    }
}

/// A value that cannot be a tool's result: a fault of the tool.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The value cannot be serialised.
    #[error("the result is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// The value is not an object.
    #[error("the result is not a JSON object")]
    NotAnObject,
}

/// Why a tool call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolError {
    /// The call failed or was refused: a result with `isError`, which the model reads.
    Failed(ToolFailure),
    /// The server failed: JSON-RPC error -32603. The text is shown to the caller.
    Internal(String),
}

/// A failed or refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFailure {
    message: String,
    details: Option<Bytes>,
}

impl ToolError {
    /// Returns a failure. The message should say what went wrong, where, and what to do.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(ToolFailure {
            message: message.into(),
            details: None,
        })
    }

    /// Returns a failure with a reason code for programs.
    #[must_use]
    pub fn because(reason: &str, message: impl Into<String>) -> Self {
        let mut details = br#"{"reason":"#.to_vec();
        push_string(&mut details, reason);
        details.push(b'}');
        Self::Failed(ToolFailure {
            message: message.into(),
            details: Some(Bytes::from(details)),
        })
    }

    /// Returns a failure for invalid arguments; nothing was executed.
    #[must_use]
    pub fn bad_arguments(message: impl Into<String>) -> Self {
        Self::because("bad_arguments", message)
    }

    /// Returns a failure with details for programs. They are placed in the result's `_meta` under
    /// `ephyr/error` and not in `structuredContent`, which clients validate against the output schema
    /// even if the call failed.
    ///
    /// # Errors
    /// The details cannot be serialised.
    pub fn with_details<T: Serialize + ?Sized>(
        message: impl Into<String>,
        details: &T,
    ) -> Result<Self, OutputError> {
        let details = serde_json::to_vec(details)?;
        Ok(Self::Failed(ToolFailure {
            message: message.into(),
            details: Some(Bytes::from(details)),
        }))
    }

    /// Returns an internal error.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }
}

impl From<OutputError> for ToolError {
    fn from(error: OutputError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl ToolFailure {
    /// The message for the model.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details as JSON.
    pub(crate) fn details(&self) -> Option<&Bytes> {
        self.details.as_ref()
    }

    /// Appends `content` and `isError`.
    pub(crate) fn push_members(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#""content":[{"type":"text","text":"#);
        push_string(out, &self.message);
        out.extend_from_slice(br#"}],"isError":true"#);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn result_is_structured_and_text() {
        let value = json!({"targets": [{"name": "we\"b\n"}]});
        let output = ToolOutput::json(&value).unwrap();
        let text = format!("{{{}}}", std::str::from_utf8(output.members()).unwrap());
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["structuredContent"], value);
        let block = read["content"][0]["text"].as_str().unwrap();
        assert_eq!(block, serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(read["isError"], false);
    }

    #[test]
    fn list_is_rejected_as_a_result() {
        assert!(matches!(
            ToolOutput::json(&[1, 2]),
            Err(OutputError::NotAnObject)
        ));
    }
}
