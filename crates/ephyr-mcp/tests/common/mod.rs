//! A mock backend: a tool that answers at once, a slow one, and resources. The tests call it directly, the
//! example `mock_server` serves it over HTTP.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{
    Backend, Call, CallContext, Config, Effects, Guard, Resource, ResourceError, ResourceSet,
    ResourceText, Server, ServerInfo, SessionKey, Tool, ToolError, ToolOutput, ToolSet,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An error during setup.
pub(crate) type SetupError = Box<dyn std::error::Error + Send + Sync>;

/// Counting to this number panics.
pub(crate) const PANIC: u64 = 999;

/// The mock backend.
pub(crate) struct Mock {
    info: ServerInfo,
    tools: ToolSet<Handler>,
    resources: ResourceSet,
    /// The number of `count` calls that were cancelled.
    pub(crate) stopped: AtomicUsize,
    /// The number of `count` calls that finished.
    pub(crate) finished: AtomicUsize,
}

/// The handler of a tool.
pub(crate) enum Handler {
    Echo,
    Count,
}

#[derive(Deserialize)]
struct Echo {
    text: String,
    #[serde(default = "one")]
    times: usize,
}

fn one() -> usize {
    1
}

#[derive(Serialize)]
struct Echoed<'a> {
    caller: &'a str,
    lines: Vec<String>,
}

#[derive(Deserialize)]
struct Count {
    to: u64,
    #[serde(default)]
    pause_ms: u64,
}

#[derive(Serialize)]
struct Counted {
    counted: u64,
}

impl Mock {
    pub(crate) fn new() -> Result<Self, SetupError> {
        let echo = Object::new()
            .required("text", Schema::string(1..=200).describe("what to say"))
            .optional("times", Schema::integer(1..=5).default_value(&1));
        let echoed = Object::new()
            .required("caller", Schema::string(1..=64))
            .required("lines", Schema::array(Schema::string(0..=200), 1..=5));
        let count = Object::new()
            .required("to", Schema::integer(1..=1000))
            .optional("pause_ms", Schema::integer(0..=60_000));
        let counted = Object::new().required("counted", Schema::integer(0..=1000));
        let tools = vec![
            (
                Tool::new("echo", "Says it back.", echo)
                    .title("Echo")
                    .output(echoed)
                    .effects(Effects::READS),
                Handler::Echo,
            ),
            (
                Tool::new("count", "Counts, reporting each number.", count).output(counted),
                Handler::Count,
            ),
        ];
        let resources = [Resource {
            uri: "mock://hello".into(),
            name: "hello".into(),
            description: "A greeting.".into(),
            mime_type: "text/markdown".into(),
        }];
        Ok(Self {
            info: ServerInfo {
                name: "mock".into(),
                title: "Mock".into(),
                version: "1.0.0".into(),
            },
            tools: ToolSet::new(tools)?,
            resources: ResourceSet::new(&resources)?,
            stopped: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
        })
    }

    /// Returns a server for this backend.
    pub(crate) fn server(
        self: &Arc<Self>,
        session_key: SessionKey,
    ) -> Result<Server<Self>, SetupError> {
        let config = Config {
            guard: Guard::loopback(),
            session_key,
            list_ttl: Duration::from_secs(10),
        };
        Ok(Server::new(Arc::clone(self), config)?)
    }

    fn echo(caller: &str, arguments: &RawValue) -> Result<ToolOutput, ToolError> {
        let echo: Echo = serde_json::from_str(arguments.get())
            .map_err(|error| ToolError::internal(error.to_string()))?;
        if echo.text == "forbidden" {
            let refused = serde_json::json!({"reason": "forbidden"});
            return Err(ToolError::with_details("this must not be said", &refused)?);
        }
        let lines = vec![echo.text; echo.times];
        Ok(ToolOutput::json(&Echoed { caller, lines })?)
    }

    async fn count(
        self: Arc<Self>,
        count: Count,
        mut context: CallContext,
    ) -> Result<ToolOutput, ToolError> {
        assert_ne!(count.to, PANIC, "requested by the test");
        for number in 1..=count.to {
            context.progress.report(format!("at {number}")).await;
            tokio::select! {
                () = context.cancel.cancelled() => {
                    self.stopped.fetch_add(1, Ordering::SeqCst);
                    return Err(ToolError::failed("stopped"));
                }
                () = tokio::time::sleep(Duration::from_millis(count.pause_ms)) => {}
            }
        }
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(ToolOutput::json(&Counted { counted: count.to })?)
    }
}

impl Backend for Mock {
    type Caller = String;
    type Handler = Handler;

    fn caller_key<'a>(&self, caller: &'a String) -> Cow<'a, str> {
        Cow::Borrowed(caller)
    }

    fn info(&self) -> &ServerInfo {
        &self.info
    }

    fn instructions(&self) -> Option<&str> {
        Some("Say something.")
    }

    fn tools(&self, _caller: &String) -> ToolSet<Handler> {
        self.tools.clone()
    }

    fn call(self: &Arc<Self>, caller: &String, handler: &Handler, arguments: &RawValue) -> Call {
        match handler {
            Handler::Echo => Self::echo(caller, arguments).into(),
            Handler::Count => match serde_json::from_str::<Count>(arguments.get()) {
                Ok(count) => {
                    let mock = Arc::clone(self);
                    Call::run(move |context| mock.count(count, context))
                }
                Err(error) => Call::Done(Err(ToolError::internal(error.to_string()))),
            },
        }
    }

    fn resources(&self, _caller: &String) -> ResourceSet {
        self.resources.clone()
    }

    async fn read_resource(
        self: &Arc<Self>,
        caller: &String,
        uri: &str,
    ) -> Result<ResourceText, ResourceError> {
        match uri {
            "mock://hello" => Ok(ResourceText {
                mime_type: "text/markdown".into(),
                text: format!("# Hello, {caller}\n"),
            }),
            "mock://long" => Ok(ResourceText {
                mime_type: "text/plain".into(),
                text: "long".repeat(75_000),
            }),
            _ => Err(ResourceError::NotFound),
        }
    }
}
