//! The methods: what each answers, the same for every version but for the frame around it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backend::{Backend, Call};
use crate::error::{
    INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, RESOURCE_NOT_FOUND, RpcError,
};
use crate::inflight::{Inflight, Key};
use crate::json::push_string;
use crate::jsonrpc::Id;
use crate::output::ToolError;
use crate::page::Pages;
use crate::request::Request;
use crate::resource::ResourceError;
use crate::running::{Recall, Running};
use crate::session::{Sealer, Session, SessionKey};
use crate::suggest::quoted;
use crate::tool::no_arguments;
use crate::version::Version;

/// What became of a request.
pub(crate) enum Outcome {
    /// The message that answers it.
    Done(Bytes),
    /// The message that answers it, and the id of the session it opened.
    Opened(Bytes, String),
    /// It fails.
    Failed(RpcError),
    /// It runs; with the progress token, as JSON, if there is one.
    Running(Running, Option<Bytes>),
}

impl From<Result<Self, RpcError>> for Outcome {
    fn from(result: Result<Self, RpcError>) -> Self {
        result.unwrap_or_else(Self::Failed)
    }
}

const CAPABILITIES: &[u8] = br#""capabilities":{"tools":{},"resources":{}}"#;

/// Answers requests, whatever connection they came on.
pub(crate) struct Methods<B: Backend> {
    backend: Arc<B>,
    sealer: Sealer,
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
            sealer: Sealer::new(session_key),
            inflight: Inflight::default(),
            list_ttl,
            info,
        })
    }

    /// `ServerInfo` as JSON.
    pub(crate) fn info(&self) -> &Bytes {
        &self.info
    }

    /// Opens a session id; `None` if it is not one of the caller's.
    pub(crate) fn session(&self, caller: &B::Caller, id: &[u8]) -> Option<Session> {
        self.sealer.open(id, &self.backend.caller_key(caller))
    }

    /// Cancels a running request of the caller, if there is one with this id.
    pub(crate) fn cancel(&self, caller: &B::Caller, id: Id<'_>, session: Option<Session>) {
        self.inflight.cancel(&self.key(caller, id, session));
    }

    /// What a running request is found by.
    fn key(&self, caller: &B::Caller, id: Id<'_>, session: Option<Session>) -> Key {
        Key {
            caller: self.backend.caller_key(caller).into_owned(),
            session,
            id: id.as_json().to_owned(),
        }
    }

    pub(crate) async fn dispatch(&self, request: &Request<'_, B::Caller>) -> Outcome {
        match (request.method, request.to.version.is_modern()) {
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
            ("ping", false) => Outcome::Done(request.to.result(&[])),
            (method, _) => {
                let version = request.to.version;
                let message = format!("protocol version {version} has no {} here", quoted(method));
                Outcome::Failed(RpcError::new(METHOD_NOT_FOUND, message))
            }
        }
    }

    fn tools_call(&self, request: &Request<'_, B::Caller>) -> Result<Outcome, RpcError> {
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
            return Ok(Outcome::Done(request.to.tool(&Err(failure))));
        }
        let arguments = arguments.unwrap_or_else(|| no_arguments());
        Ok(
            match self.backend.call(request.caller, handler, arguments) {
                Call::Done(answer) => Outcome::Done(request.to.tool(&answer)),
                Call::Run(work) => {
                    let recall = if request.to.version.is_modern() {
                        Recall::ByLeaving
                    } else {
                        let key = self.key(request.caller, request.id, request.session);
                        Recall::ByNotification(self.inflight.clone(), key)
                    };
                    let wanted = token.is_some() && request.streams;
                    let running = Running::start(work, wanted, recall);
                    let token = token.map(|t| Bytes::copy_from_slice(t.as_json().as_bytes()));
                    Outcome::Running(running, token)
                }
            },
        )
    }

    fn list(
        &self,
        request: &Request<'_, B::Caller>,
        noun: &str,
        pages: &Pages,
    ) -> Result<Outcome, RpcError> {
        let cursor = request.params.cursor()?;
        let page = pages.at(cursor.as_deref()).ok_or_else(|| {
            RpcError::invalid_params("the cursor is not one that this list gave out")
        })?;
        let next = page.next.map(|next| format!(r#","nextCursor":"{next}""#));
        let message = request.to.result(&[
            b"\"",
            noun.as_bytes(),
            b"\":",
            page.entries,
            next.unwrap_or_default().as_bytes(),
            cache_hint(request.to.version, self.list_ttl).as_bytes(),
        ]);
        Ok(Outcome::Done(message))
    }

    fn no_templates(&self, request: &Request<'_, B::Caller>) -> Outcome {
        let hint = cache_hint(request.to.version, self.list_ttl);
        Outcome::Done(
            request
                .to
                .result(&[br#""resourceTemplates":[]"#, hint.as_bytes()]),
        )
    }

    async fn resources_read(&self, request: &Request<'_, B::Caller>) -> Result<Outcome, RpcError> {
        let uri = request.params.uri()?;
        let version = request.to.version;
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
        Ok(Outcome::Done(
            request.to.result(&[&contents, hint.as_bytes()]),
        ))
    }

    fn discover(&self, request: &Request<'_, B::Caller>) -> Outcome {
        let versions = Version::ALL
            .map(|version| format!("\"{version}\""))
            .join(",");
        let message = request.to.result(&[
            format!(r#""supportedVersions":[{versions}],"#).as_bytes(),
            CAPABILITIES,
            &self.instructions(),
            cache_hint(request.to.version, self.list_ttl).as_bytes(),
        ]);
        Outcome::Done(message)
    }

    fn initialize(&self, request: &Request<'_, B::Caller>) -> Result<Outcome, RpcError> {
        let asked = request.params.protocol_version()?;
        let version = match asked.parse::<Version>() {
            Ok(version) if !version.is_modern() => version,
            _ => Version::LATEST_LEGACY,
        };
        let caller = self.backend.caller_key(request.caller);
        let session = self.sealer.open_new(version, &caller).map_err(|error| {
            RpcError::new(
                INTERNAL_ERROR,
                format!("no session id can be made: {error}"),
            )
        })?;
        let message = request.to.result(&[
            format!(r#""protocolVersion":"{version}","#).as_bytes(),
            CAPABILITIES,
            br#","serverInfo":"#,
            &self.info,
            &self.instructions(),
        ]);
        Ok(Outcome::Opened(message, session))
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

/// How long a result may be kept. Always by its caller alone: lists and texts depend on who asks.
fn cache_hint(version: Version, ttl: Duration) -> String {
    if version.is_modern() {
        format!(r#","ttlMs":{},"cacheScope":"private""#, ttl.as_millis())
    } else {
        String::new()
    }
}
