//! `task_revoke`: revokes a task and all tasks below it.

use std::borrow::Cow;
use std::sync::Arc;

use ephyr_api::{RevokedTask, TaskRevokeArguments, ToolArguments as _};
use ephyr_core::caller::AgentCaller;
use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{CallContext, Effects, Tool, ToolError, ToolOutput};
use ephyr_names::TaskId;

use super::answer::{self, MOST_LISTED};
use super::arguments as read;
use super::schema::{dry_run, receipt, text};
use super::tool::{BrokerTool, work};
use crate::broker::Broker;
use crate::tasks;

pub(super) const TOOL: BrokerTool = BrokerTool {
    declare,
    needs_targets: false,
    allowed_unbound: false,
    handle: |broker, caller, arguments| work(broker, caller, arguments, revoke),
};

fn declare() -> Tool {
    let input = Object::new()
        .required("task_id", Schema::string(26..=26).describe("the task"))
        .optional("dry_run", dry_run());
    let output = Object::new()
        .required("task_id", text("the task"))
        .required("revoked", Schema::boolean())
        .required(
            "cascade_count",
            Schema::integer(0..=i64::MAX).describe("how many tasks fell, itself included"),
        )
        .required("status", text("what it means"))
        .optional(
            "tasks",
            Schema::array(text("a task that would fall; 1000 at most"), 0..=usize::MAX),
        )
        .optional("truncated", Schema::boolean())
        .optional(
            "ended_actions",
            Schema::integer(0..=i64::MAX).describe("running commands that were ended"),
        )
        .optional("receipt", receipt())
        .open();
    let about = "Revoke a task and all below it: their tokens are dead at once and what runs for them is ended.";
    Tool::new(TaskRevokeArguments::TOOL, about, input)
        .title("Revoke a task")
        .output(output)
        .effects(Effects {
            read_only_hint: false,
            destructive_hint: true,
            idempotent_hint: true,
            open_world_hint: false,
        })
}

async fn revoke(
    broker: Arc<Broker>,
    caller: AgentCaller,
    arguments: TaskRevokeArguments,
    _: CallContext,
) -> Result<ToolOutput, ToolError> {
    let id = read::task_id(&arguments.task_id)?;
    if arguments.dry_run {
        return preview(&broker, &caller, id).await;
    }
    let done = tasks::revoke(&broker, &caller, id)
        .await
        .map_err(|error| answer::failed(&error))?;
    Ok(ToolOutput::json(&RevokedTask {
        task_id: id,
        revoked: true,
        cascade_count: done.cascade,
        status: Cow::Borrowed("all tokens invalidated"),
        tasks: Vec::new(),
        truncated: false,
        ended_actions: Some(done.ended),
        receipt: done.receipt.as_ref().map(answer::receipt),
    })?)
}

async fn preview(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    id: TaskId,
) -> Result<ToolOutput, ToolError> {
    let record =
        tasks::find_to_revoke(broker, caller, id).map_err(|error| answer::failed(&error))?;
    let mut tasks = tasks::below(broker, caller, record.id).await;
    let cascade_count = tasks.len();
    tasks.truncate(MOST_LISTED);
    let truncated = tasks.len() < cascade_count;
    let status = if truncated {
        "nothing was revoked: these tasks and more would fall, cascade_count in all"
    } else {
        "nothing was revoked: these tasks would fall"
    };
    Ok(ToolOutput::json(&RevokedTask {
        task_id: id,
        revoked: false,
        cascade_count,
        status: Cow::Borrowed(status),
        tasks,
        truncated,
        ended_actions: None,
        receipt: None,
    })?)
}
