//! Why a token is refused, and why one is not minted.

use ephyr_names::Timestamp;

/// Why a token is refused. Everything but [`TokenError::Expired`] is the fault of whoever presents it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text does not begin with `mac_`.
    #[error("not a token: a token begins with \"mac_\"")]
    NotAToken,
    /// More than [`crate::MAX_TOKEN_BYTES`].
    #[error("the token has more than 8192 bytes; ask for a new one with fewer caveats")]
    TooLong,
    /// Not canonical base64url without padding.
    #[error("the token is damaged: not base64url without padding (RFC 4648 section 5)")]
    Base64,
    /// Another version byte than 0x02.
    #[error("the token has format version {0}; this build reads version 2")]
    Version(u8),
    /// The bytes end inside a field.
    #[error("the token is damaged: it ends too early")]
    Truncated,
    /// Bytes follow the signature.
    #[error("the token is damaged: bytes follow its signature")]
    TrailingBytes,
    /// Not `<epoch ULID>.<root task ULID>.<number of broker caveats>`.
    #[error("the token's identifier is malformed")]
    Identifier,
    /// Made for somebody else.
    #[error("the token is not for an Ephyr broker")]
    Location,
    /// The identifier counts more broker caveats than there are, or none.
    #[error("the token's identifier does not fit its caveats")]
    SectionCount,
    /// The HMAC chain does not end in the token's signature.
    #[error(
        "the token's signature is wrong: it was altered, or its epoch is over; ask for a new one"
    )]
    Signature,
    /// A caveat that the grammar does not know, or not in its one spelling.
    #[error("caveat {index} is not understood: {why}")]
    MalformedCaveat {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A well-formed caveat where it must not stand.
    #[error("caveat {index} is out of place: {why}")]
    MisplacedCaveat {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with its place.
        why: &'static str,
    },
    /// `[*]` in the holder section.
    #[error("caveat {index}: \"*\" may not be appended to a token")]
    Wildcard {
        /// Its place, from 0.
        index: usize,
    },
    /// The first task is not the one of the identifier.
    #[error("the token's first task is not the root that its identifier names")]
    RootMismatch,
    /// A task occurs twice in the lineage.
    #[error("caveat {index} names a task that already stands in the lineage")]
    RepeatedTask {
        /// Its place, from 0.
        index: usize,
    },
    /// More than [`crate::MAX_DEPTH`] generations below the root.
    #[error("the token's task is more than 5 levels below its root")]
    TooDeep,
    /// The broker set no expiry.
    #[error("the token's broker section sets no expiry")]
    NoExpiry,
    /// The time is over.
    #[error("the token expired at {expires}; ask for a new one")]
    Expired {
        /// When.
        expires: Timestamp,
    },
}

impl TokenError {
    /// A stable name for programs: test vectors, metrics, audit records.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAToken => "not_a_token",
            Self::TooLong => "too_long",
            Self::Base64 => "bad_base64",
            Self::Version(_) => "bad_version",
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::Identifier => "bad_identifier",
            Self::Location => "bad_location",
            Self::SectionCount => "bad_section_count",
            Self::Signature => "bad_signature",
            Self::MalformedCaveat { .. } => "malformed_caveat",
            Self::MisplacedCaveat { .. } => "misplaced_caveat",
            Self::Wildcard { .. } => "wildcard_in_holder_section",
            Self::RootMismatch => "root_mismatch",
            Self::RepeatedTask { .. } => "repeated_task",
            Self::TooDeep => "too_deep",
            Self::NoExpiry => "no_expiry",
            Self::Expired { .. } => "expired",
        }
    }
}

/// Why a token is not minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// More than [`crate::MAX_TOKEN_BYTES`].
    #[error(
        "the token would have {len} bytes, at most 8192 are allowed; name fewer targets, services or tools"
    )]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The parent's `can_delegate` is false.
    #[error("the parent task may not delegate (can_delegate is false)")]
    MayNotDelegate,
    /// The parent's `delegation_depth` is used up.
    #[error("the parent task's delegation_depth is used up")]
    DepthUsedUp,
    /// The child would be deeper than [`crate::MAX_DEPTH`].
    #[error("the child would be more than 5 levels below the root")]
    TooDeep,
    /// The child asks for more than its parent has.
    #[error("the child's {what} exceeds its parent's")]
    Widens {
        /// The first such dimension: `ssh`, `targets`, `expires`, …
        what: &'static str,
    },
    /// The child's task id already stands in the lineage.
    #[error("the child's task id already stands in its lineage")]
    RepeatedTask,
    /// Another key is bound to the task already.
    #[error("the task is bound to another holder key already")]
    AlreadyBound,
    /// The root's `delegation_depth` is over [`crate::MAX_DEPTH`].
    #[error("delegation_depth is {0}, at most 5 is allowed")]
    Depth(u8),
    /// The expiry is not in the years 0001 to 9999.
    #[error("the expiry is not a time that RFC 3339 can write")]
    Expiry,
}
