//! Steps shared by several tests.

use std::time::{Duration, Instant};

use ephyr_api::TaskCreateArguments;
use ephyr_testkit::{Mcp, ToolAnswer, Value, World, json};

/// Runs a command.
pub(crate) fn exec(agent: &mut Mcp, target: &str, role: &str, command: &str) -> ToolAnswer {
    agent
        .tool(
            "exec",
            json!({"target": target, "role": role, "command": command}),
        )
        .unwrap()
}

/// Creates a task; returns its id and token.
pub(crate) fn task(agent: &mut Mcp) -> (String, String) {
    let created = agent.invoke(&TaskCreateArguments::new("a test")).unwrap();
    (
        created.task_id.to_string(),
        created.token.as_str().to_owned(),
    )
}

/// Polls until `ask` returns a value; fails after ten seconds.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{what}: not within 10 s"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the complete records of the audit log.
pub(crate) fn records(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.audit_log()).unwrap();
    // The last line may be incomplete.
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Waits for a matching record.
pub(crate) fn record(world: &World, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        records(world).into_iter().find(|record| wanted(record))
    })
}

/// Calls a tool that must refuse; returns the details for programs.
pub(crate) fn details(agent: &mut Mcp, tool: &str, arguments: Value) -> Value {
    let answer = agent.call(tool, arguments).unwrap().ok().unwrap();
    assert_eq!(answer["isError"], true, "{answer}");
    answer["_meta"]["ephyr/error"].clone()
}
