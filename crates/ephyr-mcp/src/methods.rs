//! The MCP methods. Versions differ only in the envelope of the response.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backend::{Backend, Call};
use crate::error::{
    INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, RESOURCE_NOT_FOUND, RpcError,
};
use crate::inflight::{Inflight, RequestKey};
use crate::json::push_string;
use crate::jsonrpc::Id;
use crate::output::ToolError;
use crate::page::Pages;
use crate::request::Request;
use crate::resource::ResourceError;
use crate::running::{CancelMode, RunningCall};
use crate::session::{McpSession, SessionKey, SessionSealer};
use crate::suggest::quoted;
use crate::tool::no_arguments;
use crate::version::Version;

/// The result of dispatching a request.
pub(crate) enum DispatchResult {
    /// The response.
    Done(Bytes),
    /// The response, and the id of the session that it opened.
    Opened(Bytes, String),
    /// The request failed.
    Failed(RpcError),
    /// The call runs; with the progress token, as JSON, if there is one.
    Running(RunningCall, Option<Bytes>),
}

impl From<Result<Self, RpcError>> for DispatchResult {
    fn from(result: Result<Self, RpcError>) -> Self {
        result.unwrap_or_else(Self::Failed)
    }
}

const CAPABILITIES: &[u8] = br#""capabilities":{"tools":{},"resources":{}}"#;

/// Dispatches requests to methods.
pub(crate) struct Methods<B: Backend> {
    backend: Arc<B>,
    sealer: SessionSealer,
    inflight: Inflight,
    list_ttl: Duration,
    /// `ServerInfo` as JSON.
    info: Bytes,
}

impl<B: Backend> Methods<B> {
    pub(crate) fn new(
        backend: Arc<B>,
        session_key: &SessionKey,
        list_ttl: Duration,
    ) -> serde_json::Result<Self> {
        let info = Bytes::from(serde_json::to_vec(backend.info())?);
        Ok(Self {
            backend,
            sealer: SessionSealer::new(session_key),
            inflight: Inflight::default(),
            list_ttl,
            info,
        })
    }

    /// `ServerInfo` as JSON.
    pub(crate) fn info(&self) -> &Bytes {
        &self.info
    }

    /// Verifies a session id; `None` if it is not one of the caller's.
    pub(crate) fn session(&self, caller: &B::Caller, id: &[u8]) -> Option<McpSession> {
        self.sealer.open(id, &self.backend.caller_key(caller))
    }

    /// Cancels a running request of the caller, if there is one with this id.
    pub(crate) fn cancel(&self, caller: &B::Caller, id: Id<'_>, session: Option<McpSession>) {
        self.inflight.cancel(&self.key(caller, id, session));
    }

    fn key(&self, caller: &B::Caller, id: Id<'_>, session: Option<McpSession>) -> RequestKey {
        RequestKey {
            caller: self.backend.caller_key(caller).into_owned(),
            session,
            id: id.as_json().to_owned(),
        }
    }

    pub(crate) async fn dispatch(&self, request: &Request<'_, B::Caller>) -> DispatchResult {
        match (request.method, request.context.version.is_modern()) {
            ("tools/call", _) => self.tools_call(request).into(),
            ("tools/list", _) => {
                let tools = self.backend.tools(request.caller);
                self.list(request, "tools", tools.pages()).into()
            }
            ("resources/list", _) => {
                let resources = self.backend.resources(request.caller);
                self.list(request, "resources", resources.pages()).into()
            }
            ("resources/read", _) => self.resources_read(request).await.into(),
            ("resources/templates/list", _) => self.no_templates(request),
            ("server/discover", true) => self.discover(request),
            ("initialize", false) => self.initialize(request).into(),
            ("ping", false) => DispatchResult::Done(request.context.result(&[])),
            (method, _) => {
                let version = request.context.version;
                let message = format!(
                    "method {} is not supported in protocol version {version}",
                    quoted(method)
                );
                DispatchResult::Failed(RpcError::new(METHOD_NOT_FOUND, message))
            }
        }
    }

    fn tools_call(&self, request: &Request<'_, B::Caller>) -> Result<DispatchResult, RpcError> {
        let name = request.params.name()?;
        let token = request.params.meta.progress_token()?;
        let tools = self.backend.tools(request.caller);
        let Some((tool, handler)) = tools.get(&name) else {
            let hint = tools
                .closest(&name)
                .map(|name| format!("; did you mean {name:?}?"));
            let hint = hint.unwrap_or_default();
            let message = format!("there is no tool {}{hint}", quoted(&name));
            return Err(RpcError::invalid_params(message));
        };
        let arguments = request.params.arguments;
        if arguments.is_some_and(|arguments| !arguments.get().starts_with('{')) {
            return Err(RpcError::invalid_params("arguments must be an object"));
        }
        if let Err(error) = tool.check(arguments) {
            let failure = ToolError::bad_arguments(format!("{name}: {error}"));
            return Ok(DispatchResult::Done(request.context.tool(&Err(failure))));
        }
        let arguments = arguments.unwrap_or_else(|| no_arguments());
        Ok(
            match self.backend.call(request.caller, handler, arguments) {
                Call::Done(answer) => DispatchResult::Done(request.context.tool(&answer)),
                Call::Run(work) => {
                    let cancel_mode = if request.context.version.is_modern() {
                        CancelMode::OnDisconnect
                    } else {
                        let key = self.key(request.caller, request.id, request.session);
                        CancelMode::OnNotification(self.inflight.clone(), key)
                    };
                    let wanted = token.is_some() && request.streams;
                    let running = RunningCall::start(work, wanted, cancel_mode);
                    let token = token.map(|t| Bytes::copy_from_slice(t.as_json().as_bytes()));
                    DispatchResult::Running(running, token)
                }
            },
        )
    }

    fn list(
        &self,
        request: &Request<'_, B::Caller>,
        noun: &str,
        pages: &Pages,
    ) -> Result<DispatchResult, RpcError> {
        let cursor = request.params.cursor()?;
        let page = pages.at(cursor.as_deref()).ok_or_else(|| {
            RpcError::invalid_params("unknown cursor; use the nextCursor of an earlier page")
        })?;
        let next = page.next.map(|next| format!(r#","nextCursor":"{next}""#));
        let message = request.context.result(&[
            b"\"",
            noun.as_bytes(),
            b"\":",
            page.entries,
            next.unwrap_or_default().as_bytes(),
            cache_hint(request.context.version, self.list_ttl).as_bytes(),
        ]);
        Ok(DispatchResult::Done(message))
    }

    fn no_templates(&self, request: &Request<'_, B::Caller>) -> DispatchResult {
        let hint = cache_hint(request.context.version, self.list_ttl);
        DispatchResult::Done(
            request
                .context
                .result(&[br#""resourceTemplates":[]"#, hint.as_bytes()]),
        )
    }

    async fn resources_read(
        &self,
        request: &Request<'_, B::Caller>,
    ) -> Result<DispatchResult, RpcError> {
        let uri = request.params.uri()?;
        let version = request.context.version;
        let text = match self.backend.read_resource(request.caller, &uri).await {
            Ok(text) => text,
            Err(ResourceError::NotFound) => {
                let code = match version.is_modern() {
                    true => INVALID_PARAMS,
                    false => RESOURCE_NOT_FOUND,
                };
                let message = format!("there is no resource {}", quoted(&uri));
                return Err(RpcError::new(code, message));
            }
            Err(ResourceError::Internal(message)) => {
                return Err(RpcError::new(INTERNAL_ERROR, message));
            }
        };
        let mut contents = Vec::with_capacity(text.text.len() + 128);
        contents.extend_from_slice(br#""contents":[{"uri":"#);
        push_string(&mut contents, &uri);
        contents.extend_from_slice(br#","mimeType":"#);
        push_string(&mut contents, &text.mime_type);
        contents.extend_from_slice(br#","text":"#);
        push_string(&mut contents, &text.text);
        contents.extend_from_slice(b"}]");
        let hint = cache_hint(version, Duration::ZERO);
        Ok(DispatchResult::Done(
            request.context.result(&[&contents, hint.as_bytes()]),
        ))
    }

    fn discover(&self, request: &Request<'_, B::Caller>) -> DispatchResult {
        let versions = Version::ALL
            .map(|version| format!("\"{version}\""))
            .join(",");
        let message = request.context.result(&[
            format!(r#""supportedVersions":[{versions}],"#).as_bytes(),
            CAPABILITIES,
            &self.instructions(),
            cache_hint(request.context.version, self.list_ttl).as_bytes(),
        ]);
        DispatchResult::Done(message)
    }

    fn initialize(&self, request: &Request<'_, B::Caller>) -> Result<DispatchResult, RpcError> {
        let asked = request.params.protocol_version()?;
        let version = match asked.parse::<Version>() {
            Ok(version) if !version.is_modern() => version,
            _ => Version::LATEST_LEGACY,
        };
        let caller = self.backend.caller_key(request.caller);
        let session = self.sealer.open_new(version, &caller).map_err(|error| {
            RpcError::new(
                INTERNAL_ERROR,
                format!("cannot create a session id: {error}"),
            )
        })?;
        let message = request.context.result(&[
            format!(r#""protocolVersion":"{version}","#).as_bytes(),
            CAPABILITIES,
            br#","serverInfo":"#,
            &self.info,
            &self.instructions(),
        ]);
        Ok(DispatchResult::Opened(message, session))
    }

    fn instructions(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(text) = self.backend.instructions() {
            out.extend_from_slice(br#","instructions":"#);
            push_string(&mut out, text);
        }
        out
    }
}

/// Returns the cache members of a result. The scope is private because results depend on the caller.
fn cache_hint(version: Version, ttl: Duration) -> String {
    if version.is_modern() {
        format!(r#","ttlMs":{},"cacheScope":"private""#, ttl.as_millis())
    } else {
        String::new()
    }
}
