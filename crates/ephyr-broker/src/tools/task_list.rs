//! `task_list`: lists the caller's live tasks.

use std::sync::Arc;

use ephyr_api::{TaskList, TaskListArguments, ToolArguments as _};
use ephyr_core::caller::AgentCaller;
use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{Call, Effects, Tool, ToolError, ToolOutput};
use serde_json::value::RawValue;

use super::answer::{self, MOST_LISTED};
use super::schema::task_members;
use super::tool::{BrokerTool, note_read, read};
use crate::broker::Broker;
use crate::clock;
use crate::tasks;

/// Maximum total size of the descriptions in one answer, in bytes.
const MOST_DESCRIBED: usize = 256 * 1024;

pub(super) const TOOL: BrokerTool = BrokerTool {
    declare,
    needs_targets: false,
    allowed_unbound: false,
    handle,
};

fn declare() -> Tool {
    let output = Object::new()
        .required(
            "tasks",
            Schema::array(Schema::object(task_members()), 0..=usize::MAX),
        )
        .required(
            "count",
            Schema::integer(0..=i64::MAX).describe("how many there are"),
        )
        .required(
            "truncated",
            Schema::boolean().describe("true: only the newest are listed"),
        )
        .open();
    let about = "List your live tasks; with a token, the token's own task and those below it.";
    Tool::new(TaskListArguments::TOOL, about, Object::new())
        .title("List tasks")
        .output(output)
        .effects(Effects::READS)
}

/// Lists the tasks. With a token, the tree below its task is walked, which may take long, so it runs on a blocking thread
/// and does not delay other connections.
fn handle(broker: &Arc<Broker>, caller: &AgentCaller, _: &RawValue) -> Call {
    if caller.task().is_none() {
        return read(
            broker,
            caller,
            TaskListArguments::TOOL,
            list(broker, caller),
        );
    }
    note_read(broker, caller, TaskListArguments::TOOL);
    let (broker, caller) = (Arc::clone(broker), caller.clone());
    Call::run(move |_| async move {
        let turn = broker.limits().walk(caller.agent()).await;
        let list = move || {
            let _turn = turn;
            list(&broker, &caller)
        };
        let listed = tokio::task::spawn_blocking(list).await;
        listed.unwrap_or_else(|_| Err(ToolError::internal("listing the tasks failed")))
    })
}

fn list(broker: &Broker, caller: &AgentCaller) -> Result<ToolOutput, ToolError> {
    let (newest, count) = tasks::visible(broker, caller, MOST_LISTED);
    let mut described = 0;
    let short = newest.iter().rev().take_while(|record| {
        described += record.description.len();
        described <= MOST_DESCRIBED
    });
    let listed = &newest[newest.len() - short.count()..];
    let now = clock::now();
    let tasks = listed
        .iter()
        .map(|record| answer::summary(broker, record, now))
        .collect();
    let list = TaskList {
        tasks,
        count,
        truncated: listed.len() < count,
    };
    Ok(ToolOutput::json(&list)?)
}
