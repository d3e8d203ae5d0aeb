//! The HTTP front end: a Unix socket for agents of this host and a loopback port for MCP clients.

mod head;
mod oauth;
mod router;
#[cfg(test)]
mod tests;

pub use ephyr_http::Peer;
#[cfg(test)]
pub(crate) use router::Request;
pub use router::{Entrypoint, Router};
