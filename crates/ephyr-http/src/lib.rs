//! HTTP connections: who may connect, how long each step may take, and how bodies are read and written.
//!
//! ```text
//! serve         accepts a listener's connections and hands them to the serving threads
//!   workers       the serving threads, one runtime each
//!   connections   the open connections: limits, and which one is closed for a new one
//!   connection    one connection of any byte stream: requests in, responses out
//!     service       the interface that answers requests
//!     body          request bodies: refused, collected whole, or read frame by frame
//!     activity      whether a connection is busy, and since when nothing has moved on it
//! ```
//!
//! This crate has no policy and writes no log: a [`Service`] says what a request means and who may ask.

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
