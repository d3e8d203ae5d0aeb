//! Formats JSON objects as lines of `name: value`.

use ephyr_api::EnvelopeJson;
use serde_json::Value;

use crate::failure::Failure;
use crate::output::plain;

/// Formats an object as lines of `name: value`, inner objects indented.
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
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(text).collect();
                format!("{indent}{name}: {}\n", items.join(","))
            }
            _ => format!("{indent}{name}: {}\n", text(value)),
        };
        lines.push_str(&line);
    }
    lines
}

/// Formats an envelope as lines. A `*` is explained in the text: it allows all that the policy allows, not everything.
pub(crate) fn envelope(envelope: &Value, depth: usize) -> String {
    let mut envelope = envelope.clone();
    for value in envelope.as_object_mut().into_iter().flatten() {
        if value.1 == "*" {
            *value.1 = "* (all that the policy allows)".into();
        }
    }
    fields(&envelope, depth)
}

/// Formats the envelope of a response as lines, indented once.
///
/// # Errors
/// The envelope is not JSON.
pub(crate) fn received_envelope(json: &EnvelopeJson<'_>) -> Result<String, Failure> {
    let value = serde_json::from_str(json.as_str()).map_err(Failure::protocol)?;
    Ok(envelope(&value, 1))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
