//! The parameters of a request and their metadata.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::RpcError;
use crate::jsonrpc::{Id, text_of};
use crate::limits::MAX_ID_BYTES;

/// The parameters of all supported methods; each method reads its own.
#[derive(Deserialize, Default)]
pub(crate) struct Params<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestId")]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "protocolVersion")]
    protocol_version: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    raw_meta: Option<&'a RawValue>,
    #[serde(skip)]
    pub(crate) meta: Meta<'a>,
}

/// The members of `_meta`.
#[derive(Deserialize, Default)]
pub(crate) struct Meta<'a> {
    #[serde(borrow, default, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    protocol_version: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
    client_capabilities: Option<&'a RawValue>,
}

impl<'a> Params<'a> {
    pub(crate) fn read(params: Option<&'a RawValue>) -> Result<Self, RpcError> {
        let Some(params) = params else {
            return Ok(Self::default());
        };
        let mut params: Self = object(params, "params")?;
        if let Some(meta) = params.raw_meta {
            params.meta = object(meta, "_meta")?;
        }
        Ok(params)
    }

    pub(crate) fn name(&self) -> Result<Cow<'a, str>, RpcError> {
        required(self.name, "name")
    }

    pub(crate) fn uri(&self) -> Result<Cow<'a, str>, RpcError> {
        required(self.uri, "uri")
    }

    pub(crate) fn protocol_version(&self) -> Result<Cow<'a, str>, RpcError> {
        required(self.protocol_version, "protocolVersion")
    }

    pub(crate) fn cursor(&self) -> Result<Option<Cow<'a, str>>, RpcError> {
        optional(self.cursor, "cursor")
    }

    /// Returns the id of the request that `notifications/cancelled` cancels.
    pub(crate) fn request_id(&self) -> Option<Id<'a>> {
        self.request_id.and_then(Id::of)
    }

    /// Returns the value that `Mcp-Name` must repeat: the tool's name or the resource's URI.
    pub(crate) fn subject(&self, method: &str) -> Result<Option<Cow<'a, str>>, RpcError> {
        match method {
            "tools/call" | "prompts/get" => optional(self.name, "name"),
            "resources/read" => optional(self.uri, "uri"),
            _ => Ok(None),
        }
    }
}

impl<'a> Meta<'a> {
    pub(crate) fn protocol_version(&self) -> Result<Option<Cow<'a, str>>, RpcError> {
        optional(
            self.protocol_version,
            "io.modelcontextprotocol/protocolVersion",
        )
    }

    pub(crate) fn progress_token(&self) -> Result<Option<Id<'a>>, RpcError> {
        let Some(token) = self.progress_token else {
            return Ok(None);
        };
        Id::of(token).map(Some).ok_or_else(|| {
            RpcError::invalid_params(format!(
                "progressToken must be a string or an integer of at most {MAX_ID_BYTES} bytes"
            ))
        })
    }

    /// Checks the metadata that 2026-07-28 requires of every request.
    pub(crate) fn check_modern(&self) -> Result<(), RpcError> {
        required(
            self.protocol_version,
            "_meta[\"io.modelcontextprotocol/protocolVersion\"]",
        )?;
        let name = "_meta[\"io.modelcontextprotocol/clientCapabilities\"]";
        match self.client_capabilities {
            Some(value) if value.get().starts_with('{') => Ok(()),
            Some(_) => Err(RpcError::invalid_params(format!(
                "{name} must be an object"
            ))),
            None => Err(missing(name)),
        }
    }
}

/// Parses an object. The brace is checked because derived `Deserialize` also accepts a list of the members.
fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue, name: &str) -> Result<T, RpcError> {
    let refusal = || {
        let message = format!("{name} must be an object, with each member at most once");
        RpcError::invalid_params(message)
    };
    if !raw.get().starts_with('{') {
        return Err(refusal());
    }
    serde_json::from_str(raw.get()).map_err(|_| refusal())
}

fn required<'a>(value: Option<&'a RawValue>, name: &str) -> Result<Cow<'a, str>, RpcError> {
    optional(value, name)?.ok_or_else(|| missing(name))
}

fn optional<'a>(value: Option<&'a RawValue>, name: &str) -> Result<Option<Cow<'a, str>>, RpcError> {
    match value {
        None => Ok(None),
        Some(value) => match text_of(value) {
            Some(text) => Ok(Some(text)),
            None => Err(RpcError::invalid_params(format!("{name} must be a string"))),
        },
    }
}

fn missing(name: &str) -> RpcError {
    RpcError::invalid_params(format!("{name} is missing"))
}
