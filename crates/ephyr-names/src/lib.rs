//! The names, ids, times and digests that every other crate speaks in.
//!
//! Everything here is made once, at the edge, by a checked constructor, and is valid from then on:
//! *parse, don't validate*. The crate is pure: no I/O, no clock, no randomness of its own; whoever
//! needs a new id passes the time and the random bytes in.

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

/// Longest command, in bytes: in the policy, on the wire and in a certificate.
pub const MAX_COMMAND_BYTES: usize = 16 * 1024;
