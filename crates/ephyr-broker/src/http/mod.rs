//! HTTP on both ways in: the Unix socket for agents of this host, a loopback port for MCP clients.

mod router;
mod serve;

pub use router::{Body, Router, Way};
pub(crate) use router::{failure, json};
pub use serve::{BodyError, Listener, Peer, serve};
