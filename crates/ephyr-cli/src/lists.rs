//! `ephyr targets`, `certs`, `whoami`, `health`: what the broker says, as a table.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker;
use crate::endpoint::Endpoint;
use crate::failure::{Failure, UNAVAILABLE};
use crate::output::{Output, plain, table};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn targets(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let value = broker::call(endpoint, "list_targets", json!({}), PATIENCE)?;
    list(
        &value["targets"],
        output,
        &value,
        "you may use no target",
        |target| {
            let enabled = target["enabled"].as_bool().unwrap_or(true);
            vec![
                text(&target["name"]),
                words(&target["roles"]),
                format!("{}:{}", text(&target["host"]), target["port"]),
                if enabled {
                    text(&target["description"])
                } else {
                    "switched off".to_owned()
                },
            ]
        },
    )
}

pub(crate) fn certs(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let value = broker::call(endpoint, "list_certs", json!({}), PATIENCE)?;
    list(
        &value["certs"],
        output,
        &value,
        "no certificate is out for you",
        |cert| {
            ["serial", "kind", "principal", "expires_at"]
                .map(|name| text(&cert[name]))
                .to_vec()
        },
    )
}

pub(crate) fn whoami(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let value = broker::get(endpoint, "/v1/whoami")?;
    output.show(&value, || fields(&value, 0))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn health(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let value = broker::get(endpoint, "/v1/health")?;
    output.show(&value, || fields(&value, 0))?;
    let well = value["status"] == "ok";
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(UNAVAILABLE)
    })
}

/// Prints a list, with heads that fit the rows.
pub(crate) fn list(
    items: &Value,
    output: &Output,
    whole: &Value,
    none: &str,
    row: impl Fn(&Value) -> Vec<String>,
) -> Result<ExitCode, Failure> {
    let items = items
        .as_array()
        .ok_or_else(|| Failure::protocol("there is no list in it"))?;
    output.show(whole, || {
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        let head: &[&str] = match rows.first().map(Vec::len) {
            None => return none.to_owned(),
            Some(4) if whole.get("targets").is_some() => &["TARGET", "ROLES", "ADDRESS", "WHAT"],
            Some(4) => &["SERIAL", "KIND", "OPENS", "UNTIL"],
            Some(_) => &["TASK", "AGENT", "DEPTH", "LEFT", "STATE", "FOR"],
        };
        table(head, &rows)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// An object as lines of `name: value`, inner ones indented.
pub(crate) fn fields(value: &Value, depth: usize) -> String {
    let Some(object) = value.as_object() else {
        return text(value);
    };
    let indent = "  ".repeat(depth);
    let mut lines = String::new();
    for (name, value) in object {
        let line = match value {
            Value::Object(_) => format!("{indent}{name}:\n{}", fields(value, depth + 1)),
            Value::Array(_) => format!("{indent}{name}: {}\n", words(value)),
            _ => format!("{indent}{name}: {}\n", text(value)),
        };
        lines.push_str(&line);
    }
    lines
}

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn words(value: &Value) -> String {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(text).collect::<Vec<_>>().join(",")
}
