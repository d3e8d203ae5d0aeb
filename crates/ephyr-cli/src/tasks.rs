//! `ephyr task`: create, look at and revoke tasks.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::Task;
use crate::broker;
use crate::endpoint::Endpoint;
use crate::failure::{DENIED, Failure};
use crate::lists::{envelope, fields, list, text};
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
            output.show(&value, || shown(&value["task"]))?;
        }
        Task::List => {
            let value = call("task_list", json!({}))?;
            return list(
                &value["tasks"],
                output,
                &value,
                &["TASK", "AGENT", "DEPTH", "LEFT", "STATE", "FOR"],
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
                match count.as_str() {
                    "1" => format!("revoked {task}\n"),
                    _ => format!("revoked {task}: {count} tasks in all, itself included\n"),
                }
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what would be made; where it would be refused, the exit status is that of a refusal.
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
            shown.push_str(&envelope(&value["envelope"], 1));
        }
        shown
    })?;
    Ok(if allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DENIED)
    })
}

/// A task for people.
fn shown(task: &Value) -> String {
    let mut rest = task.clone();
    let limits = rest
        .as_object_mut()
        .and_then(|rest| rest.remove("envelope"));
    let limits = limits.map_or_else(String::new, |limits| {
        format!("envelope:\n{}", envelope(&limits, 1))
    });
    fields(&rest, 0) + &limits
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
    let mut children: BTreeMap<Option<String>, Vec<&Value>> = BTreeMap::new();
    for task in &tasks {
        children.entry(parent(task)).or_default().push(task);
    }
    let mut drawn = String::new();
    for root in children.get(&None).into_iter().flatten() {
        drawn.push_str(&leaf(root));
        branches(root, &children, "", &mut drawn);
    }
    drawn
}

/// The tasks below `above`, each line after what is drawn to the left of it.
fn branches(
    above: &Value,
    children: &BTreeMap<Option<String>, Vec<&Value>>,
    left: &str,
    drawn: &mut String,
) {
    let below = children.get(&above["id"].as_str().map(str::to_owned));
    let below = below.map(Vec::as_slice).unwrap_or_default();
    for (at, task) in below.iter().enumerate() {
        let (own, beside) = if at + 1 == below.len() {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        drawn.push_str(&format!("{left}{own}{}", leaf(task)));
        branches(task, children, &format!("{left}{beside}"), drawn);
    }
}

fn leaf(task: &Value) -> String {
    let state = if task["is_revoked"] == true {
        " revoked"
    } else {
        ""
    };
    format!(
        "{} {} {} s{state}  {}\n",
        text(&task["id"]),
        text(&task["agent"]),
        text(&task["remaining_ttl"]),
        text(&task["description"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_shows_whose_child_each_task_is() {
        let task = |id: &str, parent: Option<&str>| {
            json!({"id": id, "parent": parent, "agent": "a", "remaining_ttl": 9, "description": "d",
                   "is_revoked": id == "C"})
        };
        let tasks = json!([
            task("A", None),
            task("B", Some("A")),
            task("C", Some("B")),
            task("D", Some("A")),
            // Its parent is not among those shown.
            task("E", Some("elsewhere")),
        ]);
        assert_eq!(
            tree(&tasks),
            "A a 9 s  d\n├─ B a 9 s  d\n│  └─ C a 9 s revoked  d\n└─ D a 9 s  d\nE a 9 s  d\n"
        );
    }
}
