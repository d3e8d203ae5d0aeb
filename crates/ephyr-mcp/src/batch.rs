//! JSON-RPC batches, which only 2025-03-26 has.

use bytes::Bytes;
use http::Response;

use crate::backend::Backend;
use crate::body::Body;
use crate::error::RpcError;
use crate::jsonrpc::{Id, Incoming, Unreadable};
use crate::limits::MAX_BATCH_ANSWERS;
use crate::methods::DispatchResult;
use crate::named_version::NamedVersion;
use crate::params::Params;
use crate::post::{Post, call_lost};
use crate::reply;
use crate::reply_context::{ReplyContext, error_message};
use crate::running::RunningCall;
use crate::version::Version;

/// The response to one message of a batch, or its running call.
enum BatchItem {
    Done(Bytes),
    Running(ReplyContext, RunningCall),
}

impl<B: Backend> Post<'_, B> {
    /// Answers a batch. All messages are started before the first is awaited.
    pub(crate) async fn batch(
        &self,
        messages: Vec<Result<Incoming<'_>, Unreadable<'_>>>,
    ) -> Response<Body> {
        let version = match self.batch_version() {
            Ok(version) => version,
            Err(error) => return reply::error(self.named.assumed(), None, &error),
        };
        let mut begun = Vec::with_capacity(messages.len());
        let mut answered = 0;
        for message in messages {
            let next = self
                .begin(version, message, answered > MAX_BATCH_ANSWERS)
                .await;
            if let Some(BatchItem::Done(answer)) = &next {
                answered += answer.len();
            }
            begun.extend(next);
        }
        let mut out = Vec::with_capacity(begun.len());
        for answer in begun {
            out.push(match answer {
                BatchItem::Done(message) => message,
                BatchItem::Running(context, mut running) => running
                    .answer()
                    .await
                    .answer(&context)
                    .unwrap_or_else(|| context.error(&call_lost())),
            });
        }
        if out.is_empty() {
            return reply::taken();
        }
        let message = [b"[", &out.join(&b',')[..], b"]"].concat();
        self.reply(http::StatusCode::OK, Bytes::from(message))
    }

    fn batch_version(&self) -> Result<Version, RpcError> {
        let version = match self.named {
            NamedVersion::Unsupported(text) => return Err(RpcError::unsupported_version(text)),
            NamedVersion::Served(version) => version,
            NamedVersion::Absent => {
                let session = self.session()?;
                session.map_or(Version::UNNAMED, |session| session.version)
            }
        };
        if version.has_batches() {
            return Ok(version);
        }
        Err(RpcError::invalid_request(format!(
            "protocol version {version} does not support batches; send each message separately"
        )))
    }

    async fn begin(
        &self,
        version: Version,
        message: Result<Incoming<'_>, Unreadable<'_>>,
        full: bool,
    ) -> Option<BatchItem> {
        let error = |id: Option<Id<'_>>, error: &RpcError| {
            let id = id.map(|id| id.as_json().as_bytes());
            Some(BatchItem::Done(error_message(version, id, error)))
        };
        let (id, method, params) = match message {
            Err(unreadable) => return error(unreadable.id, &unreadable.error),
            Ok(Incoming::Response) => return None,
            Ok(Incoming::Notification { method, params }) => {
                let params = Params::read(params).unwrap_or_default();
                let taken = self.notification(&method, &params);
                return taken.err().and_then(|refusal| error(None, &refusal));
            }
            Ok(Incoming::Request { id, method, params }) => (id, method, params),
        };
        if full {
            let refusal = RpcError::invalid_request(
                "not executed: the responses of this batch exceed the size limit; send this request separately",
            );
            return error(Some(id), &refusal);
        }
        if method == "initialize" {
            let refusal = RpcError::invalid_request("initialize must not be part of a batch");
            return error(Some(id), &refusal);
        }
        let request = match self.request(id, &method, params, false) {
            Ok(request) => request,
            Err(refused) => return error(Some(id), &refused.error),
        };
        Some(match self.methods.dispatch(&request).await {
            DispatchResult::Done(message) | DispatchResult::Opened(message, _) => {
                BatchItem::Done(message)
            }
            DispatchResult::Failed(error) => BatchItem::Done(request.context.error(&error)),
            DispatchResult::Running(running, _) => BatchItem::Running(request.context, running),
        })
    }
}
