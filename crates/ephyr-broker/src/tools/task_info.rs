//! `task_info`: shows one of the caller's tasks.

use std::borrow::Cow;
use std::sync::Arc;

use ephyr_api::{TaskDetails, TaskInfo, TaskInfoArguments, ToolArguments as _};
use ephyr_core::caller::AgentCaller;
use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{Call, Effects, Tool, ToolError, ToolOutput};
use serde_json::value::RawValue;

use super::schema::{task_members, text};
use super::tool::{self, BrokerTool};
use super::{answer, arguments as read};
use crate::broker::Broker;
use crate::clock;
use crate::tasks;

pub(super) const TOOL: BrokerTool = BrokerTool {
    declare,
    needs_targets: false,
    allowed_unbound: false,
    handle,
};

fn declare() -> Tool {
    let input = Object::new().optional(
        "task_id",
        Schema::string(26..=26).describe("the task; without it the one of your token"),
    );
    let task = task_members()
        .required("lineage", Schema::array(text("a task"), 1..=6))
        .required("can_delegate", Schema::boolean())
        .required("envelope", Schema::object(Object::new().open()));
    let output = Object::new().required("task", Schema::object(task)).open();
    let about = "Show one of your tasks: its life, lineage and envelope.";
    Tool::new(TaskInfoArguments::TOOL, about, input)
        .title("Show a task")
        .output(output)
        .effects(Effects::READS)
}

fn handle(broker: &Arc<Broker>, caller: &AgentCaller, arguments: &RawValue) -> Call {
    match read::parse(arguments) {
        Ok(arguments) => {
            let answer = info(broker, caller, &arguments);
            tool::read(broker, caller, TaskInfoArguments::TOOL, answer)
        }
        Err(error) => Call::from(Err(error)),
    }
}

fn info(
    broker: &Broker,
    caller: &AgentCaller,
    arguments: &TaskInfoArguments,
) -> Result<ToolOutput, ToolError> {
    let id = match &arguments.task_id {
        Some(text) => read::task_id(text)?,
        None => caller.task().ok_or_else(|| {
            ToolError::bad_arguments("argument \"task_id\" is needed: without a token there is no task of your own; see task_list")
        })?,
    };
    let record = tasks::find(broker, caller, id).map_err(|error| answer::failed(&error))?;
    let task = TaskDetails {
        summary: answer::summary(broker, &record, clock::now()),
        lineage: Cow::Borrowed(&record.lineage),
        can_delegate: record.can_delegate,
        envelope: answer::envelope(&record)?,
    };
    Ok(ToolOutput::json(&TaskInfo { task })?)
}
