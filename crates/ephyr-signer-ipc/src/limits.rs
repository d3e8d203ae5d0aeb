//! Limits of the protocol.

/// Most record hashes in one [`Request::Checkpoint`](crate::Request::Checkpoint).
pub const MAX_CHECKPOINT_HASHES: usize = 1000;
