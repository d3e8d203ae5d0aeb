//! Errors of verification and minting.

use ephyr_names::Timestamp;

/// Why a token is refused. Except for [`TokenError::Expired`], the presenter is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text does not begin with `mac_`.
    #[error("not a token: expected a text that begins with \"mac_\"")]
    NotAToken,
    /// Longer than [`crate::MAX_TOKEN_BYTES`].
    #[error("the token has more than 8192 bytes; request a new one with fewer caveats")]
    TooLong,
    /// Not canonical base64url without padding.
    #[error("the token is damaged: not base64url without padding (RFC 4648 section 5)")]
    Base64,
    /// The version byte is not 0x02.
    #[error("the token has format version {0}; this build reads version 2")]
    Version(u8),
    /// The bytes end inside a field.
    #[error("the token is truncated")]
    Truncated,
    /// Bytes follow the signature.
    #[error("the token is damaged: bytes follow its signature")]
    TrailingBytes,
    /// Not `<epoch ULID>.<root task ULID>.<number of broker caveats>`.
    #[error("the token's identifier is malformed")]
    Identifier,
    /// The location is not [`crate::LOCATION`].
    #[error("the token is not for an Ephyr broker")]
    Location,
    /// The identifier's count of broker caveats is zero or exceeds the number of caveats.
    #[error("the token's identifier does not match its number of caveats")]
    SectionCount,
    /// The HMAC chain does not end in the token's signature.
    #[error(
        "the token's signature is wrong: the token was altered or its epoch has ended; request a new one"
    )]
    Signature,
    /// A caveat that is outside the grammar or not canonical.
    #[error("caveat {index} is malformed: {why}")]
    MalformedCaveat {
        /// The caveat's index, from 0.
        index: usize,
        /// The fault.
        why: &'static str,
    },
    /// A well-formed caveat at a position where it is not allowed.
    #[error("caveat {index} is misplaced: {why}")]
    MisplacedCaveat {
        /// The caveat's index, from 0.
        index: usize,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// `[*]` in the holder section.
    #[error("caveat {index}: \"*\" cannot be appended to a token; only the broker may write it")]
    Wildcard {
        /// The caveat's index, from 0.
        index: usize,
    },
    /// The first task is not the identifier's root.
    #[error("the token's first task is not the root named in its identifier")]
    RootMismatch,
    /// A task occurs twice in the lineage.
    #[error("caveat {index} names a task that is already in the lineage")]
    RepeatedTask {
        /// The caveat's index, from 0.
        index: usize,
    },
    /// More than [`crate::MAX_DEPTH`] generations below the root.
    #[error("the token's task is more than 5 levels below its root")]
    TooDeep,
    /// The broker set no expiry.
    #[error("the token's broker section sets no expiry")]
    NoExpiry,
    /// The token has expired.
    #[error("the token expired at {expires}; request a new one")]
    Expired {
        /// The time of expiry.
        expires: Timestamp,
    },
}

impl TokenError {
    /// Returns the stable code used in test vectors, metrics and audit records.
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
    /// Longer than [`crate::MAX_TOKEN_BYTES`].
    #[error(
        "the token would have {len} bytes, more than the limit of 8192; name fewer targets, services or tools"
    )]
    TooLong {
        /// The token's length in bytes.
        len: usize,
    },
    /// The parent's `can_delegate` is false.
    #[error("the parent task may not delegate (can_delegate is false)")]
    MayNotDelegate,
    /// The parent's `delegation_depth` is used up.
    #[error("the parent task has no delegation_depth left")]
    DepthUsedUp,
    /// The child would be deeper than [`crate::MAX_DEPTH`].
    #[error("the child would be more than 5 levels below the root")]
    TooDeep,
    /// The child asks for more than its parent has.
    #[error("the child's {what} exceeds its parent's")]
    Widens {
        /// The first dimension that is exceeded: `ssh`, `targets`, `expires`, …
        what: &'static str,
    },
    /// The child's task id is already in the lineage.
    #[error("the child's task id is already in its lineage")]
    RepeatedTask,
    /// The task is already bound to another key.
    #[error("the task is already bound to another holder key")]
    AlreadyBound,
    /// The root's `delegation_depth` exceeds [`crate::MAX_DEPTH`].
    #[error("delegation_depth is {0}; the maximum is 5")]
    Depth(u8),
    /// The expiry is not in the years 0001 to 9999.
    #[error("the expiry is outside the years 0001 to 9999")]
    Expiry,
}
