//! The type of a tool, and helpers for handlers that answer at once or asynchronously.

use std::sync::Arc;

use ephyr_audit::ActionKind;
use ephyr_core::caller::AgentCaller;
use ephyr_mcp::{Call, CallContext, Tool, ToolError, ToolOutput};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::arguments::parse;
use crate::broker::Broker;
use crate::reads::ReadKind;

/// A tool: its declaration and its handler.
pub struct BrokerTool {
    /// Returns the name, the schemas and the effects.
    pub(super) declare: fn() -> Tool,
    /// Whether only agents with targets see it.
    pub(super) needs_targets: bool,
    /// Whether it may be called before the caller's task is bound.
    pub(super) allowed_unbound: bool,
    /// Answers a call.
    pub(super) handle: fn(&Arc<Broker>, &AgentCaller, &RawValue) -> Call,
}

/// Records a call of a tool without effects as a read.
pub(super) fn note_read(broker: &Broker, caller: &AgentCaller, tool: &'static str) {
    broker.note_read(
        caller,
        ReadKind {
            kind: ActionKind::Tool,
            name: tool,
        },
    );
}

/// Answers a call of a tool without effects at once, and records it as a read.
pub(super) fn read(
    broker: &Broker,
    caller: &AgentCaller,
    tool: &'static str,
    answer: Result<ToolOutput, ToolError>,
) -> Call {
    note_read(broker, caller, tool);
    Call::from(answer)
}

/// Answers a call of an asynchronous tool.
pub(super) fn work<A, F, W>(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    arguments: &RawValue,
    work: F,
) -> Call
where
    A: for<'de> Deserialize<'de> + Send + 'static,
    F: FnOnce(Arc<Broker>, AgentCaller, A, CallContext) -> W + Send + 'static,
    W: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
{
    let (broker, caller) = (Arc::clone(broker), caller.clone());
    match parse(arguments) {
        Ok(arguments) => Call::run(move |context| work(broker, caller, arguments, context)),
        Err(error) => Call::from(Err(error)),
    }
}
