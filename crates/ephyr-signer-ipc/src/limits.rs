//! Limits of the protocol.

/// Maximum number of record hashes in one [`Request::Checkpoint`](crate::Request::Checkpoint).
pub const MAX_CHECKPOINT_HASHES: usize = 1000;
