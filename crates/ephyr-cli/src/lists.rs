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
        &["TARGET", "ROLES", "ADDRESS", "WHAT"],
        "you may use no target",
        |target| {
            let enabled = target["enabled"].as_bool().unwrap_or(true);
            vec![
                text(&target["name"]),
                words(&target["roles"], ","),
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
        &["SERIAL", "KIND", "OPENS", "UNTIL"],
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

/// Prints a list under the heads of its columns.
pub(crate) fn list(
    items: &Value,
    output: &Output,
    whole: &Value,
    head: &[&str],
    none: &str,
    row: impl Fn(&Value) -> Vec<String>,
) -> Result<ExitCode, Failure> {
    let items = items
        .as_array()
        .ok_or_else(|| Failure::protocol("there is no list in it"))?;
    output.show(whole, || {
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        if rows.is_empty() {
            return none.to_owned();
        }
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
        let name = plain(name);
        let line = match value {
            Value::Object(_) => format!("{indent}{name}:\n{}", fields(value, depth + 1)),
            Value::Array(_) => format!("{indent}{name}: {}\n", words(value, ",")),
            _ => format!("{indent}{name}: {}\n", text(value)),
        };
        lines.push_str(&line);
    }
    lines
}

/// An envelope as lines. A `*` stands for what the token leaves to the policy, not for everything.
pub(crate) fn envelope(envelope: &Value, depth: usize) -> String {
    let mut envelope = envelope.clone();
    for value in envelope.as_object_mut().into_iter().flatten() {
        if value.1 == "*" {
            *value.1 = "* (whatever the policy allows)".into();
        }
    }
    fields(&envelope, depth)
}

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

pub(crate) fn words(value: &Value, between: &str) -> String {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(text).collect::<Vec<_>>().join(between)
}
