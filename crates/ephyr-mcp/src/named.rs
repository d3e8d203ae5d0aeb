//! The protocol version that a request's header names.

use http::HeaderMap;

use crate::error::RpcError;
use crate::headers;
use crate::version::Version;

/// The version that the header names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Named<'a> {
    Nothing,
    Served(Version),
    Unknown(&'a str),
}

impl<'a> Named<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, RpcError> {
        let text = headers::single_text(headers, &headers::PROTOCOL_VERSION)?;
        Ok(text.map_or(Self::Nothing, Self::from_text))
    }

    pub(crate) fn from_text(text: &'a str) -> Self {
        text.parse().map_or(Self::Unknown(text), Self::Served)
    }

    /// The version in which to complain about a message that cannot be read.
    pub(crate) fn assumed(self) -> Version {
        match self {
            Self::Nothing => Version::UNNAMED,
            Self::Served(version) => version,
            Self::Unknown(_) => Version::V2026_07_28,
        }
    }
}
