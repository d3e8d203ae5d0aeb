//! Requests with a known version and session.

use crate::jsonrpc::Id;
use crate::params::Params;
use crate::reply_context::ReplyContext;
use crate::session::McpSession;

/// A request that passed its version's checks.
pub(crate) struct Request<'a, C> {
    pub(crate) caller: &'a C,
    pub(crate) context: ReplyContext,
    pub(crate) id: Id<'a>,
    pub(crate) method: &'a str,
    pub(crate) params: Params<'a>,
    pub(crate) session: Option<McpSession>,
    /// Whether the response may be an event stream.
    pub(crate) streams: bool,
}
