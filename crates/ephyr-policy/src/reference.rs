//! Generates the reference of every key from the tables that the checker reads.

use std::fmt::Write as _;

use crate::fields;
use crate::shape::{Record, Shape};

/// Returns the Markdown section "Every key" of `docs/policy.md`: each key with its form, default and meaning.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = String::from("## Every key\n\nKeys in **bold** are required.\n");
    for field in fields::POLICY.fields {
        let _ = write!(text, "\n### `{}`\n\n{}\n", field.name, field.meaning);
        let (record, prefix) = match &field.shape {
            Shape::Record(record) => (record, String::new()),
            Shape::Map {
                value: Shape::Record(record),
                key,
            } => {
                let _ = writeln!(text, "A mapping by {} name. Each has:", key.label());
                (record, String::new())
            }
            _ => continue,
        };
        text.push_str("\n| key | form | default | meaning |\n|---|---|---|---|\n");
        rows(record, &prefix, &mut text);
    }
    text
}

fn rows(record: &Record, prefix: &str, text: &mut String) {
    for field in record.fields {
        let name = format!("{prefix}{}", field.name);
        let mark = if field.required { "**" } else { "" };
        let _ = writeln!(
            text,
            "| {mark}`{name}`{mark} | {} | {} | {} |",
            form(&field.shape),
            field.default,
            field.meaning
        );
        match &field.shape {
            Shape::Map {
                value: Shape::Record(inner),
                ..
            } => rows(inner, &format!("{name}.<name>."), text),
            Shape::List {
                of: Shape::Record(inner),
                ..
            } => rows(inner, &format!("{name}[]."), text),
            _ => {}
        }
    }
}

fn form(shape: &Shape) -> String {
    match shape {
        Shape::Text(format) => format.label().into(),
        Shape::Bool => "`true` or `false`".into(),
        Shape::Int { min, max } => format!("{min} to {max}"),
        Shape::Choice(words) => words.join(", "),
        Shape::List { of, .. } => format!("list: {}", form(of)),
        Shape::Map { key, value } => format!("mapping: {} to {}", key.label(), form(value)),
        Shape::Record(record) => record.label.into(),
        Shape::BoolOrList(list) => format!("`true`, `false` or {}", form(list)),
        Shape::OneOrList(of) => format!("{}, or list of them", form(of)),
    }
}
