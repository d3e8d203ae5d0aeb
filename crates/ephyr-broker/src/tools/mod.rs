//! The tools that agents call over MCP. Each has one file with its declaration and its handler, and one row in
//! `table.rs`. As for the Unix-socket API, the gate decides about targets and [`crate::tasks`] about tasks.

mod answer;
mod arguments;
mod exec;
mod list_certs;
mod list_targets;
mod narrowing;
mod resources;
mod schema;
mod table;
mod task_bind;
mod task_create;
mod task_delegate;
mod task_info;
mod task_list;
mod task_revoke;
mod tool;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use ephyr_audit::ActionKind;
use ephyr_core::caller::{AgentCaller, Standing};
use ephyr_mcp::{
    Backend, Call, ResourceError, ResourceSet, ResourceText, ServerInfo, ToolError, ToolSet,
};
use serde_json::value::RawValue;

pub(crate) use answer::denial_details;
pub(crate) use list_certs::certificate_list;
pub(crate) use list_targets::target_list;

use crate::broker::Broker;
use crate::reads::ReadKind;
use tool::BrokerTool;

static INFO: LazyLock<ServerInfo> = LazyLock::new(|| ServerInfo {
    name: Cow::Borrowed("ephyr"),
    title: Cow::Borrowed("Ephyr"),
    version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
});

const INSTRUCTIONS: &str = "Ephyr runs commands on SSH hosts for you; you never hold a credential. \
    Start with list_targets. Use task_create to get a token for a piece of work, and task_revoke when \
    it is done. A refusal names the rule and what you could ask for instead; dry_run asks without doing.";

impl Backend for Broker {
    type Caller = AgentCaller;
    type Handler = &'static BrokerTool;

    fn caller_key<'a>(&self, caller: &'a AgentCaller) -> Cow<'a, str> {
        caller.key()
    }

    fn info(&self) -> &ServerInfo {
        &INFO
    }

    fn instructions(&self) -> Option<&str> {
        Some(INSTRUCTIONS)
    }

    fn tools(&self, caller: &AgentCaller) -> ToolSet<Self::Handler> {
        let policy = self.policy();
        let may = policy
            .agent(caller.agent())
            .is_some_and(|agent| !agent.ssh.is_empty());
        if may {
            table::ALL.clone()
        } else {
            table::WITHOUT_TARGETS.clone()
        }
    }

    fn call(
        self: &Arc<Self>,
        caller: &AgentCaller,
        tool: &&'static BrokerTool,
        arguments: &RawValue,
    ) -> Call {
        match locked(caller) {
            Some(locked) if !tool.allowed_unbound => {
                Call::from(Err(ToolError::because("not_bound", locked)))
            }
            _ => (tool.handle)(self, caller, arguments),
        }
    }

    fn resources(&self, _caller: &AgentCaller) -> ResourceSet {
        resources::SET.clone()
    }

    async fn read_resource(
        self: &Arc<Self>,
        caller: &AgentCaller,
        uri: &str,
    ) -> Result<ResourceText, ResourceError> {
        if let Some(locked) = locked(caller) {
            return Err(ResourceError::Internal(locked.to_owned()));
        }
        let (name, text) = resources::read(self, caller, uri).ok_or(ResourceError::NotFound)?;
        self.note_read(
            caller,
            ReadKind {
                kind: ActionKind::Resource,
                name,
            },
        );
        Ok(text)
    }
}

/// Returns the message for a caller that may only bind its task.
pub(crate) fn locked(caller: &AgentCaller) -> Option<&'static str> {
    match caller.standing() {
        Standing::Full => None,
        Standing::Locked => Some(
            "423 Locked: the token is not yet bound to a key; call task_bind with your key first",
        ),
        Standing::Superseded => Some(
            "423 Locked: the task has been bound to a key; use the token that task_bind returned",
        ),
    }
}

#[cfg(test)]
mod tests;
