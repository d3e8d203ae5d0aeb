//! JSON-RPC responses, concatenated from parts that are already serialised.

use bytes::Bytes;

use crate::error::{INTERNAL_ERROR, RpcError};
use crate::json::push_string;
use crate::jsonrpc::Id;
use crate::output::{ToolError, ToolFailure, ToolOutput};
use crate::version::Version;

/// The properties of a request that its response repeats or depends on.
#[derive(Debug, Clone)]
pub(crate) struct ReplyContext {
    pub(crate) version: Version,
    /// The request's id as JSON.
    pub(crate) id: Bytes,
    /// `ServerInfo` as JSON.
    pub(crate) server: Bytes,
}

impl ReplyContext {
    pub(crate) fn new(version: Version, id: Id<'_>, server: &Bytes) -> Self {
        Self {
            version,
            id: Bytes::copy_from_slice(id.as_json().as_bytes()),
            server: server.clone(),
        }
    }

    /// Returns a response whose result has these members (JSON, without the braces).
    pub(crate) fn result(&self, members: &[&[u8]]) -> Bytes {
        let length = members.iter().map(|part| part.len()).sum();
        let mut out = self.open(length, None);
        members.iter().for_each(|part| out.extend_from_slice(part));
        close(out)
    }

    /// Returns the response to a tool call.
    pub(crate) fn tool(&self, answer: &Result<ToolOutput, ToolError>) -> Bytes {
        match answer {
            Ok(output) => self.result(&[output.members()]),
            Err(ToolError::Failed(failure)) => self.failure(failure),
            Err(ToolError::Internal(message)) => {
                self.error(&RpcError::new(INTERNAL_ERROR, message))
            }
        }
    }

    /// Returns an error response.
    pub(crate) fn error(&self, error: &RpcError) -> Bytes {
        error_message(self.version, Some(&self.id), error)
    }

    fn failure(&self, failure: &ToolFailure) -> Bytes {
        let mut out = self.open(failure.message().len() + 64, failure.details());
        failure.push_members(&mut out);
        close(out)
    }

    fn open(&self, length: usize, details: Option<&Bytes>) -> Vec<u8> {
        const FRAME: usize = 160;
        let extra = details.map_or(0, Bytes::len) + self.id.len() + self.server.len();
        let mut out = Vec::with_capacity(FRAME + extra + length);
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(br#","result":{"#);
        if self.version.is_modern() {
            out.extend_from_slice(br#""resultType":"complete","#);
            out.extend_from_slice(br#""_meta":{"io.modelcontextprotocol/serverInfo":"#);
            out.extend_from_slice(&self.server);
            if let Some(details) = details {
                out.extend_from_slice(br#","ephyr/error":"#);
                out.extend_from_slice(details);
            }
            out.extend_from_slice(b"},");
        } else if let Some(details) = details {
            out.extend_from_slice(br#""_meta":{"ephyr/error":"#);
            out.extend_from_slice(details);
            out.extend_from_slice(b"},");
        }
        out
    }
}

/// Closes the result object and the message, dropping the comma that follows the last member.
fn close(mut out: Vec<u8>) -> Bytes {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(b"}}");
    Bytes::from(out)
}

/// Returns an error response; `id` is `None` if the request's could not be read.
pub(crate) fn error_message(version: Version, id: Option<&[u8]>, error: &RpcError) -> Bytes {
    let mut out = Vec::with_capacity(128 + error.message.len());
    out.extend_from_slice(br#"{"jsonrpc":"2.0","#);
    match id {
        Some(id) => {
            out.extend_from_slice(br#""id":"#);
            out.extend_from_slice(id);
            out.push(b',');
        }
        None if version.omits_unknown_id() => {}
        None => out.extend_from_slice(br#""id":null,"#),
    }
    out.extend_from_slice(br#""error":{"code":"#);
    out.extend_from_slice(error.code.to_string().as_bytes());
    out.extend_from_slice(br#","message":"#);
    push_string(&mut out, &error.message);
    if let Some(data) = &error.data {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
    }
    out.extend_from_slice(b"}}");
    Bytes::from(out)
}
