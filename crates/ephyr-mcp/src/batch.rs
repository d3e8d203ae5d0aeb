//! Arrays of messages, which 2025-03-26 alone takes.

use bytes::Bytes;
use http::Response;

use crate::addressee::{Addressee, error_message};
use crate::backend::Backend;
use crate::body::Body;
use crate::error::RpcError;
use crate::jsonrpc::{Id, Incoming, Unreadable};
use crate::limits::MAX_BATCH_ANSWERS;
use crate::methods::Outcome;
use crate::named::Named;
use crate::params::Params;
use crate::post::{Post, lost};
use crate::reply;
use crate::running::Running;
use crate::version::Version;

/// A message of an array: answered, or still running.
enum Begun {
    Done(Bytes),
    Running(Addressee, Running),
}

impl<B: Backend> Post<'_, B> {
    /// Answers the messages of an array: all are begun before the first is waited for.
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
            if let Some(Begun::Done(answer)) = &next {
                answered += answer.len();
            }
            begun.extend(next);
        }
        let mut out = Vec::with_capacity(begun.len());
        for answer in begun {
            out.push(match answer {
                Begun::Done(message) => message,
                Begun::Running(to, mut running) => running
                    .answer()
                    .await
                    .answer(&to)
                    .unwrap_or_else(|| to.error(&lost())),
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
            Named::Unknown(text) => return Err(RpcError::unsupported_version(text)),
            Named::Served(version) => version,
            Named::Nothing => {
                let session = self.session()?;
                session.map_or(Version::UNNAMED, |session| session.version)
            }
        };
        if version.has_batches() {
            return Ok(version);
        }
        Err(RpcError::invalid_request(format!(
            "protocol version {version} has no batches: send each message by itself"
        )))
    }

    async fn begin(
        &self,
        version: Version,
        message: Result<Incoming<'_>, Unreadable<'_>>,
        full: bool,
    ) -> Option<Begun> {
        let error = |id: Option<Id<'_>>, error: &RpcError| {
            let id = id.map(|id| id.as_json().as_bytes());
            Some(Begun::Done(error_message(version, id, error)))
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
                "nothing was done: the answers to the messages before this one are too long together; \
                 send it by itself",
            );
            return error(Some(id), &refusal);
        }
        if method == "initialize" {
            let refusal = RpcError::invalid_request("initialize must not stand in a batch");
            return error(Some(id), &refusal);
        }
        let request = match self.request(id, &method, params, false) {
            Ok(request) => request,
            Err(refused) => return error(Some(id), &refused.error),
        };
        Some(match self.methods.dispatch(&request).await {
            Outcome::Done(message) | Outcome::Opened(message, _) => Begun::Done(message),
            Outcome::Failed(error) => Begun::Done(request.to.error(&error)),
            Outcome::Running(running, _) => Begun::Running(request.to, running),
        })
    }
}
