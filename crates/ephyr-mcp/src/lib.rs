//! The Model Context Protocol: versions, sessions, JSON-RPC, Streamable HTTP and the stdio bridge. It is
//! independent of policy and authentication: the program passes in the authenticated caller and
//! implements [`Backend`].
//!
//! One endpoint serves 2026-07-28 (stateless) and 2025-11-25, 2025-06-18, 2025-03-26 (handshake).
//! [`Server::handle`] maps the head and body of a POST to a response; the program reads them from a
//! socket. `docs/mcp.md` describes the protocol for client authors.
//!
//! Invariants:
//! - A call reaches the backend only for a tool in the caller's own list, with arguments that match the
//!   tool's input schema.
//! - No caller can use another's session or cancel another's request.
//! - An error message names the location and the expected type and never repeats a value, which may be a
//!   secret.
//! - A started call runs to its end, cancelled or not, so that it can record its outcome.

mod backend;
mod batch;
mod body;
pub mod bridge;
mod cors;
mod error;
mod guard;
mod headers;
mod inflight;
mod json;
mod jsonrpc;
mod limits;
mod methods;
mod named_version;
mod origin;
mod output;
mod page;
mod params;
mod post;
mod reply;
mod reply_context;
mod request;
mod resource;
mod running;
pub mod schema;
mod server;
mod session;
mod suggest;
mod tool;
mod version;

pub use backend::{Backend, Call, CallContext, Cancel, Progress, ServerInfo};
pub use body::Body;
pub use error::{
    HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND,
    PARSE_ERROR, REQUEST_CANCELLED, RESOURCE_NOT_FOUND, UNSUPPORTED_VERSION,
};
pub use guard::{Guard, Hosts, SourceError};
pub use headers::{METHOD, NAME, PROTOCOL_VERSION, SESSION_ID, encode_value};
pub use limits::{KEEP_ALIVE, MAX_BATCH, MAX_BATCH_ANSWERS, MAX_BODY, MAX_DEPTH, MAX_ID_BYTES};
pub use origin::{Origin, OriginError};
pub use output::{OutputError, ToolError, ToolFailure, ToolOutput};
pub use page::PAGE_SIZE;
pub use reply::refusal;
pub use resource::{Resource, ResourceError, ResourceSet, ResourceText};
pub use schema::ArgumentError;
pub use server::{Config, Server};
pub use session::SessionKey;
pub use tool::{Effects, Tool, ToolSet, ToolSetError, no_arguments};
pub use version::{UnknownVersion, Version};
