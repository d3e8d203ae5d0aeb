//! HTTP on both ways in: the Unix socket for agents of this host, a loopback port for MCP clients.

mod activity;
mod head;
mod oauth;
mod router;
mod serve;
#[cfg(test)]
mod tests;
mod workers;

pub(crate) use router::json;
pub use router::{Body, Router, Way};
pub use serve::{BodyError, Listener, Peer, serve};
pub(crate) use workers::MOST_BLOCKING;
pub use workers::Workers;
#[cfg(test)]
pub(crate) use {router::Request, serve::Service};
