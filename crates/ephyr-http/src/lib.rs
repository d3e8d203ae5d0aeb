//! HTTP connections: limits on connections, deadlines for each step, and reading and writing of bodies.
//!
//! ```text
//! serve         accepts a listener's connections and hands them to the serving threads
//!   workers       the serving threads, one runtime each
//!   connections   the open connections: limits, and which one to close for a new one
//!   connection    one connection of any byte stream: requests in, responses out
//!     service       the interface for answering requests
//!     body          request bodies: refused, collected whole, or read frame by frame
//!     activity      whether a connection is busy, and its last progress
//! ```
//!
//! This crate has no policy and writes no log: a [`Service`] authorizes and answers requests.

mod activity;
mod body;
mod connection;
mod connections;
mod serve;
mod service;
mod workers;

pub use body::{BodyError, RequestBody, UnreadBody};
pub use serve::{Listener, serve};
pub use service::{Peer, Service};
pub use workers::{MAX_BLOCKING_THREADS, Workers};
