//! Bounds on what is taken from a client.

use std::time::Duration;

/// Greatest length of a request's body, in bytes. The transport must not read more than this.
pub const MAX_BODY: usize = 1024 * 1024;
/// Greatest nesting of a body's objects and arrays.
pub const MAX_DEPTH: usize = 64;
/// Greatest number of messages in a batch (2025-03-26).
pub const MAX_BATCH: usize = 32;
/// Bytes of a batch's answers so far from which on none of its further requests is begun.
pub const MAX_BATCH_ANSWERS: usize = 1024 * 1024;
/// Greatest length of a request id or progress token as JSON, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// A reply that takes longer than this becomes an event stream, and a stream that is silent for this
/// long carries a comment, so that nothing between client and server takes it for dead.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Progress messages that wait for a slow reader before the work does.
pub(crate) const PROGRESS_QUEUE: usize = 16;
