//! `ephyr task`: create, look at and revoke tasks.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::args::Task;
use crate::broker;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
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
        } => {
            let arguments =
                json!({"description": description, "ttl": ttl, "can_delegate": can_delegate});
            let value = call("task_create", arguments)?;
            output.show(&value, || {
                let token = text(&value["token"]);
                if *token_only {
                    return token;
                }
                let (id, end) = (text(&value["task_id"]), text(&value["expires_at"]));
                format!("task:    {id}\nexpires: {end}\ntoken:   {token}\n")
            })?;
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
        Task::Revoke { task } => {
            let value = call("task_revoke", json!({"task_id": task}))?;
            output.show(&value, || {
                let below = text(&value["cascade_count"]);
                format!("revoked {task}; tasks below it: {below}\n")
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
