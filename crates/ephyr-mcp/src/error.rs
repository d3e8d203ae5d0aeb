//! JSON-RPC errors: codes, messages and HTTP statuses.

use http::StatusCode;

use crate::version::Version;

/// The body is not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// The JSON is not a valid request.
pub const INVALID_REQUEST: i32 = -32600;
/// This protocol version does not support the method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// The method's parameters are invalid.
pub const INVALID_PARAMS: i32 = -32602;
/// The server failed.
pub const INTERNAL_ERROR: i32 = -32603;
/// The resource does not exist (before 2026-07-28).
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// A header is missing or contradicts the body (2026-07-28).
pub const HEADER_MISMATCH: i32 = -32020;
/// The requested protocol version is not supported.
pub const UNSUPPORTED_VERSION: i32 = -32022;
/// The caller cancelled the request. The Language Server Protocol's code; outside the range that JSON-RPC
/// reserves.
pub const REQUEST_CANCELLED: i32 = -32800;

/// An error as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub(crate) code: i32,
    pub(crate) message: String,
    /// JSON.
    pub(crate) data: Option<String>,
    status: Option<StatusCode>,
}

impl RpcError {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
            status: None,
        }
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(INVALID_REQUEST, message)
    }

    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    pub(crate) fn header_mismatch(message: impl Into<String>) -> Self {
        Self::new(HEADER_MISMATCH, message)
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Returns the error for an unsupported version. `requested` comes from the caller and is truncated.
    pub(crate) fn unsupported_version(requested: &str) -> Self {
        let served = Version::ALL.map(Version::as_str);
        let data = serde_json::to_string(&Unsupported {
            supported: served,
            requested: requested.chars().take(64).collect(),
        });
        let message = format!(
            "unsupported protocol version; supported are {}",
            served.join(", ")
        );
        Self {
            data: data.ok(),
            ..Self::new(UNSUPPORTED_VERSION, message).with_status(StatusCode::BAD_REQUEST)
        }
    }

    /// Returns the HTTP status of a response that consists of this error.
    ///
    /// 2026-07-28 assigns a status to each code. Earlier versions answer every well-formed message with
    /// 200, even if the response is an error.
    pub(crate) fn status(&self, version: Version) -> StatusCode {
        if let Some(status) = self.status {
            return status;
        }
        match self.code {
            PARSE_ERROR | INVALID_REQUEST | HEADER_MISMATCH | UNSUPPORTED_VERSION => {
                StatusCode::BAD_REQUEST
            }
            INVALID_PARAMS if version.is_modern() => StatusCode::BAD_REQUEST,
            METHOD_NOT_FOUND if version.is_modern() => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        }
    }
}

#[derive(serde::Serialize)]
struct Unsupported {
    supported: [&'static str; 4],
    requested: String,
}
