//! What a tool call gives back: a result, or a failure that the model should read.

use bytes::Bytes;
use serde::Serialize;

use crate::json::{push_indented_text, push_string, push_value};

/// The result of a tool call, serialised once: `structuredContent`, and the same JSON indented in a
/// text block for clients that know no structured results. Cheap to clone, so a backend may keep
/// one and give it out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput(Bytes);

impl ToolOutput {
    /// Serialises a result. It must be a JSON object: versions before 2026-07-28 know nothing else.
    ///
    /// # Errors
    /// A value that is not JSON (a map with keys that are no texts, say) or not an object.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, OutputError> {
        // Most results fit: growing step by step would copy them several times.
        let mut out = Vec::with_capacity(1536);
        out.extend_from_slice(br#""structuredContent":"#);
        let start = out.len();
        push_value(&mut out, value)?;
        if out.get(start) != Some(&b'{') {
            return Err(OutputError::NotAnObject);
        }
        let compact = start..out.len();
        // The text has quotation marks escaped and lines indented.
        out.reserve(2 * compact.len());
        out.extend_from_slice(br#","content":[{"type":"text","text":"#);
        push_indented_text(&mut out, compact);
        out.extend_from_slice(br#"}],"isError":false"#);
        Ok(Self(Bytes::from(out)))
    }

    /// The members of the protocol's `CallToolResult`, without the braces around them.
    pub(crate) fn members(&self) -> &Bytes {
        &self.0
    }
}

/// A value that cannot be a tool's result. Whoever wrote the tool is at fault.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Not serialisable.
    #[error("the result is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// Not an object.
    #[error("the result is not a JSON object")]
    NotAnObject,
}

/// Why a tool call gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolError {
    /// The call failed or was refused: a result with `isError`, so that the model reads it and can
    /// do better.
    Failed(ToolFailure),
    /// The fault is the server's: a JSON-RPC error -32603. The text must hold nothing that a caller
    /// may not see.
    Internal(String),
}

/// A failed or refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFailure {
    message: String,
    details: Option<Bytes>,
}

impl ToolError {
    /// A failure that the model reads: what went wrong, where, and what to do.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(ToolFailure {
            message: message.into(),
            details: None,
        })
    }

    /// A failure with its reason in a word, for programs.
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

    /// Arguments that the tool does not take: the caller's to correct, and nothing was done.
    #[must_use]
    pub fn bad_arguments(message: impl Into<String>) -> Self {
        Self::because("bad_arguments", message)
    }

    /// A failure with particulars for programs. They go into the result's `_meta` under
    /// `ephyr/error` and not into `structuredContent`: clients check that against the output schema
    /// even when the call failed.
    ///
    /// # Errors
    /// Details that are not JSON.
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

    /// A fault of the server.
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
    /// What the model reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The particulars, a JSON text.
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
    fn a_result_stands_in_both_forms() {
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
    fn a_bare_list_is_no_result() {
        assert!(matches!(
            ToolOutput::json(&[1, 2]),
            Err(OutputError::NotAnObject)
        ));
    }
}
