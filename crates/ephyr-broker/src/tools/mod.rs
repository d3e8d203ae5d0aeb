//! What agents call over MCP. Every tool ends in the same places as the Unix-socket API: the gate for
//! what acts on a target, [`crate::tasks`] for tasks.

mod answer;
mod declared;
mod exec;
mod lists;
mod narrowing;
mod resources;
mod tasks;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use ephyr_audit::ActionKind;
use ephyr_mcp::{
    Backend, Call, ResourceError, ResourceSet, ResourceText, ServerInfo, ToolError, ToolSet,
};
use ephyr_policy::reachable;
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) use lists::{Certificates, Targets};

use crate::broker::Broker;
use crate::reads::What;
use ephyr_core::caller::{AgentCaller, Standing};

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

    fn caller_key<'a>(&self, caller: &'a AgentCaller) -> Cow<'a, str> {
        caller.key()
    }

    fn info(&self) -> &ServerInfo {
        &INFO
    }

    fn instructions(&self) -> Option<&str> {
        Some(INSTRUCTIONS)
    }

    fn tools(&self, caller: &AgentCaller) -> ToolSet {
        let policy = self.policy();
        let may = policy
            .agent(caller.agent())
            .is_some_and(|agent| !agent.ssh.is_empty());
        if may {
            declared::ALL.clone()
        } else {
            declared::WITHOUT_TARGETS.clone()
        }
    }

    fn call(self: &Arc<Self>, caller: &AgentCaller, tool: &str, arguments: &RawValue) -> Call {
        if let Some(locked) = locked(caller).filter(|_| tool != "task_bind") {
            return Call::from(Err(ToolError::because("not_bound", locked)));
        }
        match tool {
            "list_targets" => self.read(caller, "list_targets", lists::list_targets(self, caller)),
            "list_certs" => self.read(caller, "list_certs", lists::list_certs(self, caller)),
            "task_list" => self.list_tasks(caller),
            "task_info" => match parse(arguments) {
                Ok(named) => self.read(caller, "task_info", tasks::info(self, caller, &named)),
                Err(error) => Call::from(Err(error)),
            },
            "exec" => self.work(caller, arguments, |broker, caller, arguments, context| {
                exec::run(broker, caller, arguments, context)
            }),
            "task_create" => self.work(caller, arguments, |broker, caller, arguments, _| {
                tasks::create(broker, caller, arguments)
            }),
            "task_delegate" => self.work(caller, arguments, |broker, caller, arguments, _| {
                tasks::delegate(broker, caller, arguments)
            }),
            "task_bind" => self.work(caller, arguments, |broker, caller, arguments, _| {
                tasks::bind(broker, caller, arguments)
            }),
            "task_revoke" => self.work(caller, arguments, |broker, caller, arguments, _| {
                tasks::revoke(broker, caller, arguments)
            }),
            _ => Call::from(Err(ToolError::internal(
                "the tool is declared and not built",
            ))),
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
            What {
                kind: ActionKind::Resource,
                name,
            },
        );
        Ok(text)
    }
}

impl Broker {
    /// A tool that acts on nothing: answered at once, recorded as read.
    fn read(
        &self,
        caller: &AgentCaller,
        tool: &'static str,
        answer: Result<ephyr_mcp::ToolOutput, ToolError>,
    ) -> Call {
        self.note_read(
            caller,
            What {
                kind: ActionKind::Tool,
                name: tool,
            },
        );
        Call::from(answer)
    }

    /// As [`read`](Self::read). The tasks below a token's own are found by walking down from it, which may be
    /// many: not on a thread that serves others meanwhile.
    fn list_tasks(self: &Arc<Self>, caller: &AgentCaller) -> Call {
        if caller.task().is_none() {
            return self.read(caller, "task_list", tasks::list(self, caller));
        }
        let what = What {
            kind: ActionKind::Tool,
            name: "task_list",
        };
        self.note_read(caller, what);
        let (broker, caller) = (Arc::clone(self), caller.clone());
        Call::run(move |_| async move {
            let turn = broker.sessions().walk(caller.agent()).await;
            let list = move || {
                let _turn = turn;
                tasks::list(&broker, &caller)
            };
            let listed = tokio::task::spawn_blocking(list).await;
            listed.unwrap_or_else(|_| Err(ToolError::internal("the list was not made")))
        })
    }

    /// A tool that waits for something.
    fn work<A, F, W>(self: &Arc<Self>, caller: &AgentCaller, arguments: &RawValue, work: F) -> Call
    where
        A: for<'de> Deserialize<'de> + Send + 'static,
        F: FnOnce(Arc<Self>, AgentCaller, A, ephyr_mcp::CallContext) -> W + Send + 'static,
        W: Future<Output = Result<ephyr_mcp::ToolOutput, ToolError>> + Send + 'static,
    {
        let (broker, caller) = (Arc::clone(self), caller.clone());
        match parse(arguments) {
            Ok(arguments) => Call::run(move |context| work(broker, caller, arguments, context)),
            Err(error) => Call::from(Err(error)),
        }
    }

    /// Whether an agent may use any target at all now.
    pub(crate) fn reaches_something(&self, caller: &AgentCaller) -> bool {
        let policy = self.policy();
        !reachable(&policy, caller.subject()).is_empty()
    }
}

/// Why a caller may do nothing but bind its task, where that is so.
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

/// The schema was checked before; what fails here is a difference between the two.
fn parse<T: for<'de> Deserialize<'de>>(arguments: &RawValue) -> Result<T, ToolError> {
    serde_json::from_str(arguments.get())
        .map_err(|error| ToolError::bad_arguments(format!("the arguments: {error}")))
}

#[cfg(test)]
mod tests;
