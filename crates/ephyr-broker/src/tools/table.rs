//! The tools in listing order, and the sets shown to agents.

use std::sync::LazyLock;

use ephyr_mcp::ToolSet;

use super::tool::BrokerTool;
use super::{
    exec, list_certs, list_targets, task_bind, task_create, task_delegate, task_info, task_list,
    task_revoke,
};

static TOOLS: [BrokerTool; 9] = [
    list_targets::TOOL,
    exec::TOOL,
    list_certs::TOOL,
    task_create::TOOL,
    task_delegate::TOOL,
    task_bind::TOOL,
    task_info::TOOL,
    task_list::TOOL,
    task_revoke::TOOL,
];

/// All tools, for agents with targets.
pub(super) static ALL: LazyLock<ToolSet<&'static BrokerTool>> = LazyLock::new(|| set(|_| true));
/// The tools for agents without targets: those that need one would always refuse.
pub(super) static WITHOUT_TARGETS: LazyLock<ToolSet<&'static BrokerTool>> =
    LazyLock::new(|| set(|tool| !tool.needs_targets));

#[expect(
    clippy::expect_used,
    reason = "fixed declarations, built by every test that lists tools"
)]
fn set(is_shown: impl Fn(&BrokerTool) -> bool) -> ToolSet<&'static BrokerTool> {
    let shown = TOOLS.iter().filter(|tool| is_shown(tool));
    ToolSet::new(shown.map(|tool| ((tool.declare)(), tool))).expect("tool names differ")
}
