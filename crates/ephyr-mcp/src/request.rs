//! A request whose version and session are known.

use crate::addressee::Addressee;
use crate::jsonrpc::Id;
use crate::params::Params;
use crate::session::Session;

/// A request on its way to its method.
pub(crate) struct Request<'a, C> {
    pub(crate) caller: &'a C,
    pub(crate) to: Addressee,
    pub(crate) id: Id<'a>,
    pub(crate) method: &'a str,
    pub(crate) params: Params<'a>,
    pub(crate) session: Option<Session>,
    /// Whether progress could be sent.
    pub(crate) streams: bool,
}
