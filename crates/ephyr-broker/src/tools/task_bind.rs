//! `task_bind`: binds the task of the caller's token to a key.

use std::borrow::Cow;
use std::sync::Arc;

use ephyr_api::{BoundTask, TOKEN_TYPE, TaskBindArguments, ToolArguments as _};
use ephyr_core::caller::AgentCaller;
use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{CallContext, Effects, Tool, ToolError, ToolOutput};

use super::schema::{MAKES, holder_key, name, receipt, text, time};
use super::tool::{BrokerTool, work};
use super::{answer, arguments as read};
use crate::broker::Broker;
use crate::tasks;

pub(super) const TOOL: BrokerTool = BrokerTool {
    declare,
    needs_targets: false,
    allowed_unbound: true,
    handle: |broker, caller, arguments| work(broker, caller, arguments, bind),
};

fn declare() -> Tool {
    let input = Object::new()
        .required(
            "task_id",
            Schema::string(26..=26).describe("the task of your token"),
        )
        .required("holder_pub_key", holder_key());
    let output = Object::new()
        .required("task_id", text("the task"))
        .required("bound", Schema::boolean())
        .required("bound_at", time("when it was bound"))
        .required(
            "token",
            text("the token from here on; the one before is dead"),
        )
        .required("token_type", text("macaroon"))
        .required("expires_at", time("when task and token end"))
        .required("agent", name("whose task it is"))
        .optional("receipt", receipt())
        .open();
    let about = "Bind your token's task to a key of yours, proven by Ephyr-Proof on this very request. \
                 Binding again with the same key gives the same answer.";
    let effects = Effects {
        idempotent_hint: true,
        ..MAKES
    };
    Tool::new(TaskBindArguments::TOOL, about, input)
        .title("Bind a task to a key")
        .output(output)
        .effects(effects)
}

async fn bind(
    broker: Arc<Broker>,
    caller: AgentCaller,
    arguments: TaskBindArguments,
    _: CallContext,
) -> Result<ToolOutput, ToolError> {
    let task = read::task_id(&arguments.task_id)?;
    let holder = read::holder(&arguments.holder_pub_key)?;
    let bound = tasks::bind(&broker, &caller, task, holder)
        .await
        .map_err(|error| answer::failed(&error))?;
    Ok(ToolOutput::json(&BoundTask {
        task_id: task,
        bound: true,
        bound_at: bound.at,
        token: bound.token.as_text().into(),
        token_type: Cow::Borrowed(TOKEN_TYPE),
        expires_at: bound.record.expires,
        agent: Cow::Borrowed(&bound.record.agent),
        receipt: bound.receipt.as_ref().map(answer::receipt),
    })?)
}
