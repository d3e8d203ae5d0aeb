//! Limits on client input.

use std::time::Duration;

/// Maximum length of a request's body, in bytes. The transport must not read more.
pub const MAX_BODY: usize = 1024 * 1024;
/// Maximum nesting of objects and arrays in a body.
pub const MAX_DEPTH: usize = 64;
/// Maximum number of messages in a batch (2025-03-26).
pub const MAX_BATCH: usize = 32;
/// Size of a batch's responses, in bytes, above which its remaining requests are not started.
pub const MAX_BATCH_ANSWERS: usize = 1024 * 1024;
/// Maximum length of a request id or progress token as JSON, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// A response that takes longer becomes an event stream, and a stream that is silent for this long gets a
/// comment, so that proxies do not close an idle connection.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Progress messages that are queued for a slow reader before the work has to wait.
pub(crate) const PROGRESS_QUEUE: usize = 16;
