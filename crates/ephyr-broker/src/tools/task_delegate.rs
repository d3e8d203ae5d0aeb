//! `task_delegate`: creates a task below that of the caller's token.

use std::borrow::Cow;
use std::sync::Arc;

use ephyr_api::{Decision, TaskDelegateArguments, TaskPreview, ToolArguments as _};
use ephyr_core::caller::AgentCaller;
use ephyr_core::state::TaskRecord;
use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{CallContext, Tool, ToolError, ToolOutput};

use super::schema::{MAKES, created, decision, dry_run, holder_key, name};
use super::tool::{BrokerTool, work};
use super::{answer, arguments as read, narrowing};
use crate::broker::Broker;
use crate::tasks;

pub(super) const TOOL: BrokerTool = BrokerTool {
    declare,
    needs_targets: false,
    allowed_unbound: false,
    handle: |broker, caller, arguments| work(broker, caller, arguments, delegate),
};

fn declare() -> Tool {
    let input = Object::new()
        .optional("parent_task_id", Schema::string(26..=26).describe("the task of your token, which is the default"))
        .optional("agent", name("whose the child is; your own agent if left out"))
        .required("description", Schema::string(1..=1024).describe("what the child is for"))
        .optional("ttl", Schema::string(2..=16).describe("how long it lives, at most as long as its parent; 10m or the parent's rest if left out"))
        .optional("envelope", narrowing::schema())
        .optional("can_delegate", Schema::boolean().default_value(&false).describe("whether it may have children"))
        .optional("holder_pub_key", holder_key())
        .optional(
            "must_bind",
            Schema::boolean()
                .default_value(&false)
                .describe("true: without holder_pub_key the child must call task_bind within 30 s, and can do nothing before"),
        )
        .optional("dry_run", dry_run());
    let about = "Make a task below your token's own, with no more authority than it, for yourself or for an \
                 agent that takes your delegations. Needs the token of a task that may delegate.";
    Tool::new(TaskDelegateArguments::TOOL, about, input)
        .title("Delegate a task")
        .output(created().optional("decision", decision()))
        .effects(MAKES)
}

async fn delegate(
    broker: Arc<Broker>,
    caller: AgentCaller,
    arguments: TaskDelegateArguments,
    _: CallContext,
) -> Result<ToolOutput, ToolError> {
    let agent = arguments.agent.map(|name| name.parse()).transpose();
    let wanted = tasks::NewChild {
        parent: arguments
            .parent_task_id
            .as_deref()
            .map(read::task_id)
            .transpose()?,
        agent: agent.map_err(|e: ephyr_names::NameError| {
            ToolError::bad_arguments(format!("argument \"agent\": {e}"))
        })?,
        description: arguments.description,
        ttl: arguments.ttl.as_deref().map(read::ttl).transpose()?,
        can_delegate: arguments.can_delegate,
        holder: arguments
            .holder_pub_key
            .as_deref()
            .map(read::holder)
            .transpose()?,
        must_bind: arguments.must_bind,
        narrowing: read::narrowing(arguments.envelope)?,
    };
    if arguments.dry_run {
        return match tasks::preview_child(&broker, &caller, wanted) {
            Ok(record) => preview(&record),
            Err(error) => answer::would_fail(&error),
        };
    }
    let created = tasks::delegate(&broker, &caller, wanted).await;
    answer::created(&created.map_err(|error| answer::failed(&error))?)
}

fn preview(child: &TaskRecord) -> Result<ToolOutput, ToolError> {
    Ok(ToolOutput::json(&TaskPreview {
        decision: Decision::allowed(child.expires.since(child.created)),
        agent: Some(Cow::Borrowed(&child.agent)),
        envelope: Some(answer::envelope(child)?),
    })?)
}
