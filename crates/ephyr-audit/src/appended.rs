//! The result of a durable append.

use ephyr_names::{Digest, RecordId};

use crate::error::AuditError;

/// A record that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its id.
    pub id: RecordId,
    /// Its hash in the chain.
    pub hash: Digest,
}

/// The callback of a durable append. It is called once, on the writer's thread, or on the caller's thread if the record
/// was not accepted. It must not block.
pub type Completion = Box<dyn FnOnce(Result<Appended, AuditError>) + Send>;
