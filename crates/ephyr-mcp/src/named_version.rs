//! The protocol version named by a request.

use http::HeaderMap;

use crate::error::RpcError;
use crate::headers;
use crate::version::Version;

/// The version named by a request's header or metadata.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NamedVersion<'a> {
    Absent,
    Served(Version),
    Unsupported(&'a str),
}

impl<'a> NamedVersion<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, RpcError> {
        let text = headers::single_text(headers, &headers::PROTOCOL_VERSION)?;
        Ok(text.map_or(Self::Absent, Self::from_text))
    }

    pub(crate) fn from_text(text: &'a str) -> Self {
        text.parse().map_or(Self::Unsupported(text), Self::Served)
    }

    /// Returns the version of the error response to a message that cannot be parsed.
    pub(crate) fn assumed(self) -> Version {
        match self {
            Self::Absent => Version::UNNAMED,
            Self::Served(version) => version,
            Self::Unsupported(_) => Version::V2026_07_28,
        }
    }
}
