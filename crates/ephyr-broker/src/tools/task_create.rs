//! `task_create`: creates a root task and its token.

use std::sync::Arc;

use ephyr_api::{DEFAULT_TTL, Decision, TaskCreateArguments, TaskPreview, ToolArguments as _};
use ephyr_core::caller::AgentCaller;
use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{CallContext, Tool, ToolError, ToolOutput};

use super::schema::{MAKES, created, decision, dry_run, holder_key};
use super::tool::{BrokerTool, work};
use super::{answer, arguments as read, narrowing};
use crate::broker::Broker;
use crate::tasks;

pub(super) const TOOL: BrokerTool = BrokerTool {
    declare,
    needs_targets: false,
    allowed_unbound: false,
    handle: |broker, caller, arguments| work(broker, caller, arguments, create),
};

fn declare() -> Tool {
    let input = Object::new()
        .required(
            "description",
            Schema::string(1..=1024).describe("what the task is for; it stands in the audit log"),
        )
        .optional(
            "ttl",
            Schema::string(2..=16)
                .default_value(&DEFAULT_TTL)
                .describe("how long it lives, such as 45m; at most 1h"),
        )
        .optional(
            "can_delegate",
            Schema::boolean()
                .default_value(&false)
                .describe("whether the task may have children"),
        )
        .optional("holder_pub_key", holder_key())
        .optional("envelope", narrowing::schema())
        .optional("dry_run", dry_run());
    let output = created().optional("decision", decision());
    let about = "Start a task and get its token. What is done with the token is recorded under the task, \
                 and ends when the task is revoked.";
    Tool::new(TaskCreateArguments::TOOL, about, input)
        .title("Create a task")
        .output(output)
        .effects(MAKES)
}

async fn create(
    broker: Arc<Broker>,
    caller: AgentCaller,
    arguments: TaskCreateArguments,
    _: CallContext,
) -> Result<ToolOutput, ToolError> {
    let ttl = read::ttl(&arguments.ttl)?;
    let wanted = tasks::NewRoot {
        description: arguments.description,
        ttl,
        can_delegate: arguments.can_delegate,
        holder: arguments
            .holder_pub_key
            .as_deref()
            .map(read::holder)
            .transpose()?,
        narrowing: read::narrowing(arguments.envelope)?,
    };
    if arguments.dry_run {
        return match tasks::preview_root(&broker, &caller, &wanted) {
            Ok(()) => Ok(ToolOutput::json(&TaskPreview::from(Decision::allowed(
                ttl,
            )))?),
            Err(error) => answer::would_fail(&error),
        };
    }
    let created = tasks::create_root(&broker, &caller, wanted).await;
    answer::created(&created.map_err(|error| answer::failed(&error))?)
}
