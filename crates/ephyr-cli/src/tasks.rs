//! `ephyr task`: create, look at and revoke tasks.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::Task;
use crate::broker;
use crate::endpoint::Endpoint;
use crate::failure::{DENIED, Failure};
use crate::lists::{fields, list, text};
use crate::output::Output;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(endpoint: &Endpoint, task: &Task, output: &Output) -> Result<ExitCode, Failure> {
    let call = |tool, arguments| broker::call(endpoint, tool, arguments, PATIENCE);
    match task {
        Task::Create {
            description,
            ttl,
            can_delegate,
            token_only,
            dry_run,
        } => {
            let mut arguments =
                json!({"description": description, "ttl": ttl, "can_delegate": can_delegate});
            // Bound from the beginning, as the policy may want it (`require_pop`).
            if let Some(holder) = &endpoint.holder {
                arguments["holder_pub_key"] = json!(holder.public()?);
            }
            if *dry_run {
                arguments["dry_run"] = json!(true);
                return would_be(&call("task_create", arguments)?, output);
            }
            made(&call("task_create", arguments)?, *token_only, output)?;
        }
        Task::Delegate {
            description,
            agent,
            ttl,
            can_delegate,
            must_bind,
            keep,
            token_only,
            dry_run,
        } => {
            let mut arguments = json!({
                "description": description, "can_delegate": can_delegate, "must_bind": must_bind,
            });
            if let Some(agent) = agent {
                arguments["agent"] = json!(agent);
            }
            if let Some(ttl) = ttl {
                arguments["ttl"] = json!(ttl);
            }
            let mut roles: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for (target, role) in keep {
                roles.entry(target).or_default().push(role);
            }
            if !roles.is_empty() {
                arguments["envelope"] = json!({"ssh": roles});
            }
            if *dry_run {
                arguments["dry_run"] = json!(true);
                return would_be(&call("task_delegate", arguments)?, output);
            }
            made(&call("task_delegate", arguments)?, *token_only, output)?;
        }
        Task::Bind { token_only } => {
            if endpoint.holder.is_none() {
                let why = "binding needs a key: make one with `ssh-keygen -t ed25519 -N '' -f FILE` and \
                           give it with --holder-key FILE";
                return Err(Failure::usage(why));
            }
            made(&bind_call(endpoint)?, *token_only, output)?;
        }
        Task::Tree => {
            let value = call("task_list", json!({}))?;
            output.show(&value, || tree(&value["tasks"]))?;
        }
        Task::Info { task } => {
            let arguments = task.map_or_else(|| json!({}), |task| json!({"task_id": task}));
            let value = call("task_info", arguments)?;
            output.show(&value, || fields(&value["task"], 0))?;
        }
        Task::List => {
            let value = call("task_list", json!({}))?;
            return list(
                &value["tasks"],
                output,
                &value,
                "you have no task",
                |task| {
                    let revoked = task["is_revoked"].as_bool().unwrap_or(false);
                    vec![
                        text(&task["id"]),
                        text(&task["agent"]),
                        text(&task["depth"]),
                        format!("{} s", text(&task["remaining_ttl"])),
                        if revoked {
                            "revoked".to_owned()
                        } else {
                            "live".to_owned()
                        },
                        text(&task["description"]),
                    ]
                },
            );
        }
        Task::Revoke { task, dry_run } => {
            let arguments = json!({"task_id": task, "dry_run": dry_run});
            let value = call("task_revoke", arguments)?;
            output.show(&value, || {
                let count = text(&value["cascade_count"]);
                if *dry_run {
                    return would_fall(&value["tasks"], &count);
                }
                format!("revoked {task}: {count} tasks in all, itself included\n")
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what would be made; the exit status is a refusal.s where it would be refused.
fn would_be(value: &Value, output: &Output) -> Result<ExitCode, Failure> {
    let decision = &value["decision"];
    let allowed = decision["allowed"] == true;
    output.show(value, || {
        if !allowed {
            let (reason, message) = (text(&decision["reason"]), text(&decision["message"]));
            return format!("nothing was made, and it would be refused ({reason}): {message}\n");
        }
        let seconds = text(&decision["ttl_seconds"]);
        let mut shown = format!("nothing was made; it would live for {seconds} s\n");
        if value["envelope"].is_object() {
            shown.push_str("and be allowed at most, within the policy:\n");
            shown.push_str(&fields(&value["envelope"], 1));
        }
        shown
    })?;
    Ok(if allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DENIED)
    })
}

fn would_fall(tasks: &Value, count: &str) -> String {
    let mut shown = format!("nothing was revoked; {count} tasks would fall:\n");
    let tasks: Vec<&Value> = tasks.as_array().into_iter().flatten().collect();
    for task in &tasks {
        shown.push_str(&format!("  {}\n", text(task)));
    }
    if tasks.len().to_string() != count {
        shown.push_str("  and more\n");
    }
    shown
}

/// Shows a task just made, or its token alone.
fn made(value: &Value, token_only: bool, output: &Output) -> Result<(), Failure> {
    output.show(value, || {
        let token = text(&value["token"]);
        if token_only {
            return token;
        }
        let (id, end) = (text(&value["task_id"]), text(&value["expires_at"]));
        let bind = match value["bind_deadline"].as_str() {
            Some(deadline) => format!("to be bound by: {deadline}\n"),
            None => String::new(),
        };
        format!("task:    {id}\nexpires: {end}\n{bind}token:   {token}\n")
    })
}

/// Binds the endpoint's token to its key; the endpoint goes on with the bound one.
///
/// # Errors
/// There is no token, or the broker refuses.
pub(crate) fn bind(endpoint: Endpoint) -> Result<(Endpoint, Value), Failure> {
    let bound = bind_call(&endpoint)?;
    let token = text(&bound["token"]);
    Ok((endpoint.with_token(token)?, bound))
}

fn bind_call(endpoint: &Endpoint) -> Result<Value, Failure> {
    let (Some(token), Some(holder)) = (&endpoint.token, &endpoint.holder) else {
        let why = "binding needs the task's token, in EPHYR_TOKEN or --credential-file";
        return Err(Failure::usage(why));
    };
    let said = ephyr_token::explain(token).map_err(|error| Failure::data(error.to_string()))?;
    let task = said
        .segments
        .last()
        .map_or(said.root, |segment| segment.task);
    let arguments = json!({"task_id": task, "holder_pub_key": holder.public()?});
    broker::call(endpoint, "task_bind", arguments, PATIENCE)
}

/// The tasks as a tree, each below the task that it was made from.
fn tree(tasks: &Value) -> String {
    let tasks: Vec<&Value> = tasks.as_array().into_iter().flatten().collect();
    let ids: Vec<&str> = tasks
        .iter()
        .filter_map(|task| task["id"].as_str())
        .collect();
    let parent = |task: &Value| {
        let parent = task["parent"]
            .as_str()
            .filter(|parent| ids.contains(parent));
        parent.map(str::to_owned)
    };
    let mut drawn = String::new();
    let mut stack: Vec<(&Value, usize)> = tasks
        .iter()
        .rev()
        .filter(|task| parent(task).is_none())
        .map(|task| (*task, 0))
        .collect();
    while let Some((task, depth)) = stack.pop() {
        let state = if task["is_revoked"] == true {
            " revoked"
        } else {
            ""
        };
        let branch = if depth == 0 {
            String::new()
        } else {
            format!("{}└─ ", "   ".repeat(depth - 1))
        };
        drawn.push_str(&format!(
            "{branch}{} {} {} s{state}  {}\n",
            text(&task["id"]),
            text(&task["agent"]),
            text(&task["remaining_ttl"]),
            text(&task["description"]),
        ));
        let id = task["id"].as_str();
        stack.extend(
            tasks
                .iter()
                .rev()
                .filter(|child| parent(child).as_deref() == id)
                .map(|child| (*child, depth + 1)),
        );
    }
    drawn
}
