//! The response of the MCP endpoint: a result, a JSON-RPC error, or an error of `/v1` if the request was refused
//! before its message was read.

use serde::Deserialize;
use serde_json::Value;

/// The response to a message.
#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) result: Option<ToolResult>,
    pub(super) error: Option<Error>,
    /// The reason code of an error of `/v1`.
    code: Option<String>,
}

/// The result of a tool.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolResult {
    #[serde(default)]
    pub(super) content: Vec<Content>,
    #[serde(default)]
    pub(super) structured_content: Value,
    #[serde(default)]
    pub(super) is_error: bool,
    #[serde(default, rename = "_meta")]
    pub(super) meta: Meta,
}

#[derive(Default, Deserialize)]
pub(super) struct Meta {
    /// The details of a failure, as received.
    #[serde(default, rename = "ephyr/error")]
    pub(super) error: Value,
}

#[derive(Deserialize)]
pub(super) struct Content {
    #[serde(default)]
    pub(super) text: String,
}

/// The error in a response.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Error {
    Api(String),
    Rpc { message: String },
}

impl Message {
    /// Returns the reason code of an error.
    pub(super) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

impl Error {
    /// Returns the error message.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Api(text) | Self::Rpc { message: text } => text,
        }
    }
}
