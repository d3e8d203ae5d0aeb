//! The names, ids, times and digests that all other crates use.
//!
//! Values are constructed once, at the edge, by a checked constructor and are valid from then on:
//! *parse, don't validate*. The crate is pure: no I/O, no clock, no randomness. The caller passes the
//! time and the random bytes for a new id.

mod digest;
mod id;
mod key_id;
mod name;
mod time;

pub use digest::Digest;
pub use id::{EpochId, RecordId, RequestId, TaskId};
pub use key_id::{KeyId, Principal, Serial};
pub use name::{
    Account, AgentName, Method, NameError, RemoteName, RoleName, ServiceName, TargetName, ToolName,
};
pub use time::{TimeError, Timestamp, Ttl, TtlError};

/// Maximum length of a command in bytes: in the policy, on the wire and in a certificate.
pub const MAX_COMMAND_BYTES: usize = 16 * 1024;
