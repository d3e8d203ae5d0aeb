//! JSON-RPC errors: their codes, their texts, and the HTTP status that goes with each.

use http::StatusCode;

use crate::version::Version;

/// The body is not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// The JSON is no request that may stand here.
pub const INVALID_REQUEST: i32 = -32600;
/// There is no such method in this version.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// The method's parameters do not fit.
pub const INVALID_PARAMS: i32 = -32602;
/// The fault is the server's.
pub const INTERNAL_ERROR: i32 = -32603;
/// There is no such resource (before 2026-07-28).
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// A header is missing or contradicts the body (2026-07-28).
pub const HEADER_MISMATCH: i32 = -32020;
/// The version asked for is not served.
pub const UNSUPPORTED_VERSION: i32 = -32022;
/// The caller cancelled the request. Outside the range that JSON-RPC reserves; the value that the
/// Language Server Protocol gives the same thing.
pub const REQUEST_CANCELLED: i32 = -32800;

/// An error as the caller will see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub(crate) code: i32,
    pub(crate) message: String,
    /// A JSON text.
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

    /// `requested` comes from the caller.
    pub(crate) fn unsupported_version(requested: &str) -> Self {
        let served = Version::ALL.map(Version::as_str);
        let data = serde_json::to_string(&Unsupported {
            supported: served,
            requested: requested.chars().take(64).collect(),
        });
        let message = format!(
            "this protocol version is not served; served are {}",
            served.join(", ")
        );
        Self {
            data: data.ok(),
            ..Self::new(UNSUPPORTED_VERSION, message).with_status(StatusCode::BAD_REQUEST)
        }
    }

    /// The HTTP status of a reply that holds only this error.
    ///
    /// 2026-07-28 ties a status to each code. Before it the status says whether the message could be
    /// taken at all: one that could is answered with 200, whatever the answer.
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
