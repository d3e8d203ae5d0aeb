//! Resources: Markdown pages that describe the caller's situation. They show nothing that the tools do not.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use ephyr_core::caller::AgentCaller;
use ephyr_mcp::{Resource, ResourceSet, ResourceText};
use ephyr_policy::reachable;

use super::table;
use crate::broker::Broker;
use crate::clock;

const MARKDOWN: &str = "text/markdown";

#[expect(clippy::expect_used, reason = "fixed texts")]
pub(super) static SET: LazyLock<ResourceSet> = LazyLock::new(|| {
    let resource = |uri, name, description| Resource {
        uri: Cow::Borrowed(uri),
        name: Cow::Borrowed(name),
        description: Cow::Borrowed(description),
        mime_type: Cow::Borrowed(MARKDOWN),
    };
    ResourceSet::new(&[
        resource(
            "ephyr://overview",
            "overview",
            "What Ephyr is, who you are here, and how to begin",
        ),
        resource("ephyr://targets", "targets", "The SSH hosts you may use"),
        resource(
            "ephyr://roles",
            "roles",
            "The roles you may take, and what each may do",
        ),
        resource("ephyr://status", "status", "Whether Ephyr is well"),
        resource("ephyr://tools", "tools", "The tools you may call"),
    ])
    .expect("texts are JSON")
});

/// Returns the page at a URI.
pub(super) fn read(
    broker: &Broker,
    caller: &AgentCaller,
    uri: &str,
) -> Option<(&'static str, ResourceText)> {
    let (name, text) = match uri {
        "ephyr://overview" => ("ephyr://overview", overview(broker, caller)),
        "ephyr://targets" => ("ephyr://targets", targets(broker, caller)),
        "ephyr://roles" => ("ephyr://roles", roles(broker, caller)),
        "ephyr://status" => ("ephyr://status", status(broker)),
        "ephyr://tools" => ("ephyr://tools", tools(broker, caller)),
        _ => return None,
    };
    let mime_type = Cow::Borrowed(MARKDOWN);
    Some((name, ResourceText { mime_type, text }))
}

// Writing into a String cannot fail, so the results of `write!` are dropped throughout.

fn overview(broker: &Broker, caller: &AgentCaller) -> String {
    let mut page = format!(
        "# Ephyr\n\nEphyr runs commands on SSH hosts for agents that hold no credential. You are agent \
         `{}`, known by {}.\n\n",
        caller.agent(),
        caller.via().what()
    );
    if let Some(task) = caller.task() {
        let _ = writeln!(page, "You act in task `{task}`.\n");
    }
    if reaches_something(broker, caller) {
        page.push_str("1. `list_targets` shows where you may go, and as what.\n");
        page.push_str("2. `task_create` starts a task; use its token for what belongs to it.\n");
        page.push_str(
            "3. `exec` runs one command on a target. A refusal says what would be allowed.\n",
        );
        page.push_str("4. `task_revoke` ends the task and whatever still runs for it.\n");
    } else {
        page.push_str("The policy gives you no target at present; an operator can change that.\n");
    }
    page
}

fn targets(broker: &Broker, caller: &AgentCaller) -> String {
    let policy = broker.policy();
    let found = reachable(&policy, caller.subject());
    let mut page =
        "# Targets\n\n| target | host | roles | description |\n|---|---|---|---|\n".to_owned();
    for target in &found {
        let roles: Vec<&str> = target.roles.iter().map(|role| role.name.as_str()).collect();
        let off = if target.enabled {
            ""
        } else {
            " (switched off)"
        };
        let (name, host, port) = (&target.target.name, &target.target.host, target.target.port);
        let about = cell(&target.target.description);
        let _ = writeln!(
            page,
            "| {name}{off} | {host}:{port} | {} | {about} |",
            roles.join(", ")
        );
    }
    if found.is_empty() {
        page.push_str("\nNone.\n");
    }
    page
}

fn roles(broker: &Broker, caller: &AgentCaller) -> String {
    let policy = broker.policy();
    let found = reachable(&policy, caller.subject());
    let mut roles: Vec<_> = found
        .iter()
        .flat_map(|target| target.roles.iter().copied())
        .collect();
    roles.sort_by_key(|role| &role.name);
    roles.dedup_by_key(|role| &role.name);
    let mut page =
        "# Roles\n\n| role | account | commands | description |\n|---|---|---|---|\n".to_owned();
    for role in &roles {
        let commands = match &role.commands {
            None => "any".to_owned(),
            Some(policy) => policy
                .patterns()
                .map(|p| format!("`{}`", cell(&p)))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let _ = writeln!(
            page,
            "| {} | {} | {commands} | {} |",
            role.name,
            role.principal,
            cell(&role.description)
        );
    }
    if roles.is_empty() {
        page.push_str("\nNone.\n");
    }
    page
}

fn status(broker: &Broker) -> String {
    let now = clock::now();
    let minting = if broker.state().minting_epoch(now).is_some() {
        "yes"
    } else {
        "no: the signer has not delegated"
    };
    let audit = match broker.audit().writer().failure() {
        None => "yes".to_owned(),
        Some(failure) => format!(
            "no, since {}: nothing can be done until it can be written",
            failure.since
        ),
    };
    format!(
        "# Status\n\n- up since {}\n- tokens can be made: {minting}\n- the audit log can be written: {audit}\n\
         - certificates out: {}\n",
        broker.started(),
        broker.gate().active(now),
    )
}

fn tools(broker: &Broker, caller: &AgentCaller) -> String {
    let set = if reaches_something(broker, caller) {
        &*table::ALL
    } else {
        &*table::WITHOUT_TARGETS
    };
    let mut page = "# Tools\n\n".to_owned();
    for tool in set.iter() {
        let _ = writeln!(page, "- `{}`: {}", tool.name(), tool.description());
    }
    page
}

/// Returns whether the caller may use any target now.
fn reaches_something(broker: &Broker, caller: &AgentCaller) -> bool {
    let policy = broker.policy();
    !reachable(&policy, caller.subject()).is_empty()
}

/// Escapes a text for a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
