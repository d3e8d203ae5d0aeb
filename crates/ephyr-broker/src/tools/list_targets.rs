//! `list_targets`: the SSH hosts that the caller may use.

use std::borrow::Cow;
use std::sync::Arc;

use ephyr_api::{ListTargetsArguments, TargetList, TargetView, ToolArguments as _};
use ephyr_core::caller::AgentCaller;
use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{Call, Effects, Tool, ToolError, ToolOutput};
use ephyr_policy::{Reachable, reachable};
use serde_json::value::RawValue;

use super::schema::{name, text};
use super::tool::{BrokerTool, read};
use crate::broker::Broker;

pub(super) const TOOL: BrokerTool = BrokerTool {
    declare,
    needs_targets: true,
    allowed_unbound: false,
    handle,
};

fn declare() -> Tool {
    let target = Object::new()
        .required("name", name("what to call it in other tools"))
        .required("host", text("its DNS name or address"))
        .required("port", Schema::integer(1..=65535))
        .optional("vlan", Schema::integer(0..=4095))
        .required(
            "roles",
            Schema::array(name("a role you may take on it"), 1..=usize::MAX),
        )
        .required("description", text("what it is"))
        .required(
            "enabled",
            Schema::boolean().describe("false: an operator switched it off"),
        )
        .open();
    let output = Object::new()
        .required(
            "targets",
            Schema::array(Schema::object(target), 0..=usize::MAX),
        )
        .open();
    let about = "List the SSH hosts you may use, with the roles you may take on each.";
    Tool::new(ListTargetsArguments::TOOL, about, Object::new())
        .title("List targets")
        .output(output)
        .effects(Effects::READS)
}

fn handle(broker: &Arc<Broker>, caller: &AgentCaller, _: &RawValue) -> Call {
    let policy = broker.policy();
    let found = reachable(&policy, caller.subject());
    let answer = ToolOutput::json(&target_list(&found)).map_err(ToolError::from);
    read(broker, caller, ListTargetsArguments::TOOL, answer)
}

/// Returns the reachable targets in their wire format.
pub(crate) fn target_list<'a>(reachable: &'a [Reachable<'a>]) -> TargetList<'a> {
    let view = |found: &'a Reachable<'a>| TargetView {
        name: Cow::Borrowed(&found.target.name),
        host: Cow::Borrowed(&found.target.host),
        port: found.target.port,
        vlan: found.target.vlan,
        roles: found
            .roles
            .iter()
            .map(|role| Cow::Borrowed(&role.name))
            .collect(),
        description: Cow::Borrowed(&found.target.description),
        enabled: found.enabled,
    };
    TargetList {
        targets: reachable.iter().map(view).collect(),
    }
}
