//! Limits of the protocol.

/// Maximum number of record hashes in one [`Request::Checkpoint`](crate::Request::Checkpoint).
pub const MAX_CHECKPOINT_HASHES: usize = 1000;

/// Maximum length of a command that a certificate can be sealed to, in bytes.
pub const MAX_COMMAND: usize = 16 * 1024;

/// Maximum number of tasks in a lineage: a root and five generations below it.
pub const MAX_LINEAGE: usize = 6;
