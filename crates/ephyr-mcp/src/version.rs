//! The protocol versions that one endpoint serves, and the two eras they fall into.

use std::fmt;
use std::str::FromStr;

/// A protocol version that this crate serves, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 2025-03-26: handshake, JSON-RPC batches, no `MCP-Protocol-Version` header.
    V2025_03_26,
    /// 2025-06-18: handshake, structured tool results, no batches.
    V2025_06_18,
    /// 2025-11-25: handshake, errors without an id.
    V2025_11_25,
    /// 2026-07-28: no handshake, no sessions; every request says what it is.
    V2026_07_28,
}

impl Version {
    /// Every version served, newest first: the order in which they are offered.
    pub const ALL: [Self; 4] = [
        Self::V2026_07_28,
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
    ];

    /// What `initialize` answers to a client that asks for a version it cannot have.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;

    /// The version of a request that names none.
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

    /// Whether requests carry their own version and capabilities instead of relying on a handshake.
    #[must_use]
    pub const fn is_modern(self) -> bool {
        matches!(self, Self::V2026_07_28)
    }

    /// Whether an array of messages may be posted.
    #[must_use]
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::V2025_03_26)
    }

    /// Whether an error about an unreadable message leaves the id out. Before 2025-11-25 plain
    /// JSON-RPC 2.0 holds, which asks for `null`.
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

/// A text that names no version served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protocol version served here")]
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
    fn every_version_reads_back_from_its_name() {
        for version in Version::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        assert_eq!("2024-11-05".parse::<Version>(), Err(UnknownVersion));
        assert_eq!("2026-07-28 ".parse::<Version>(), Err(UnknownVersion));
    }
}
