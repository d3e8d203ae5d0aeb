//! The supported protocol versions: those with a handshake, and the stateless one.

use std::fmt;
use std::str::FromStr;

/// A supported protocol version, ordered oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 2025-03-26: handshake, JSON-RPC batches, no `MCP-Protocol-Version` header.
    V2025_03_26,
    /// 2025-06-18: handshake, structured tool results, no batches.
    V2025_06_18,
    /// 2025-11-25: handshake, errors without an id.
    V2025_11_25,
    /// 2026-07-28: no handshake, no sessions; every request carries its version and capabilities.
    V2026_07_28,
}

impl Version {
    /// All supported versions, newest first: the order in which they are offered.
    pub const ALL: [Self; 4] = [
        Self::V2026_07_28,
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
    ];

    /// The version that `initialize` offers if the requested one is not supported.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;

    /// The version assumed for a request that names none.
    pub const UNNAMED: Self = Self::V2025_03_26;

    /// The version's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Returns whether requests carry their version and capabilities instead of relying on a handshake.
    #[must_use]
    pub const fn is_modern(self) -> bool {
        matches!(self, Self::V2026_07_28)
    }

    /// Returns whether JSON-RPC batches are allowed.
    #[must_use]
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::V2025_03_26)
    }

    /// Returns whether the error for an unreadable message omits the id. Versions before 2025-11-25 follow
    /// JSON-RPC 2.0, which requires `null`.
    #[must_use]
    pub const fn omits_unknown_id(self) -> bool {
        matches!(self, Self::V2025_11_25 | Self::V2026_07_28)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a supported protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unsupported protocol version")]
pub struct UnknownVersion;

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or(UnknownVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_parses_from_its_name() {
        for version in Version::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        assert_eq!("2024-11-05".parse::<Version>(), Err(UnknownVersion));
        assert_eq!("2026-07-28 ".parse::<Version>(), Err(UnknownVersion));
    }
}
