//! Checks the structure of a parsed policy against the tables in `fields` and reports every fault.

use std::collections::BTreeMap;

use crate::diagnostic::{Findings, Place};
use crate::format::Format;
use crate::path::{item, join};
use crate::shape::{Field, Record, Shape};
use crate::source::{Key, Node, NumberFault, ReadsAs, Value, number_fault};
use crate::suggest;
use crate::text::shorten;

pub(crate) fn check(node: &Node, shape: &Shape, path: &str, findings: &mut Findings) {
    match (shape, &node.value) {
        (Shape::Text(format), Value::Text(text)) => {
            if let Err((code, why)) = format.check(text) {
                findings.add(code, node.at, path, why);
            }
        }
        (Shape::Bool | Shape::BoolOrList(_), Value::Bool(_)) => {}
        (Shape::Int { min, max }, Value::Int(value)) => {
            if !(i128::from(*min)..=i128::from(*max)).contains(value) {
                let message = format!("{value} is out of bounds; write {min} to {max}");
                findings.add("E-RANGE", node.at, path, message);
            }
        }
        (Shape::Choice(words), Value::Text(text)) => {
            check_choice(words, text, node.at, path, findings);
        }
        (Shape::List { of, empty }, Value::List(items)) => {
            check_list(node.at, items, of, *empty, path, findings);
        }
        (Shape::BoolOrList(list), Value::List(_)) => check(node, list, path, findings),
        (Shape::OneOrList(of), Value::List(items)) => {
            check_list(node.at, items, of, false, path, findings);
        }
        (Shape::OneOrList(of), Value::Text(_)) => check(node, of, path, findings),
        (Shape::Map { key, value }, Value::Map(entries)) => {
            check_duplicates(entries, path, findings);
            for (name, entry) in entries {
                let path = join(path, &name.name);
                if name.name == "<<" {
                    add_merge_key(name, &path, findings);
                } else if let Some(reads_as) = name.reads_as {
                    let message = not_a_name(&name.name, reads_as, *key);
                    findings.add("E-NAME-WORD", name.at, &path, message);
                } else if let Err((code, why)) = key.check(&name.name) {
                    findings.add(code, name.at, &path, why);
                } else {
                    check(entry, value, &path, findings);
                }
            }
        }
        (Shape::Record(record), Value::Map(entries)) => {
            check_record(node, record, entries, path, findings);
        }
        (_, Value::Null(word)) => {
            let message = null_value(word, shape);
            findings.add("E-TYPE", node.at, path, message);
        }
        (Shape::Int { min, max }, Value::Number(text)) => {
            check_number(text, (*min, *max), node.at, path, findings);
        }
        (Shape::Int { min, max }, Value::Text(text))
            if node.plain && number_fault(text).is_some() =>
        {
            check_number(text, (*min, *max), node.at, path, findings);
        }
        (_, found) => {
            let message = wrong_type(shape, found, node.plain);
            findings.add("E-TYPE", node.at, path, message);
        }
    }
}

/// Reports a number that is not written in plain decimal digits.
fn check_number(
    text: &str,
    (min, max): (u32, u32),
    at: Place,
    path: &str,
    findings: &mut Findings,
) {
    let short = shorten(text);
    let (code, message) = match number_fault(text) {
        Some(NumberFault::Notation(advice)) => ("E-NUMBER", format!("`{short}` {advice}")),
        Some(NumberFault::TooLarge) => {
            let message = format!("{short} is out of bounds; write {min} to {max}");
            ("E-RANGE", message)
        }
        None => {
            let message =
                format!("`{short}` is not a whole number; write {min} to {max} in digits");
            ("E-TYPE", message)
        }
    };
    findings.add(code, at, path, message);
}

fn check_choice(words: &[&str], text: &str, at: Place, path: &str, findings: &mut Findings) {
    if !words.contains(&text) {
        let hint = suggest::hint(text, words.iter().copied());
        let message = format!(
            "`{}` is not one of {}{hint}",
            shorten(text),
            words.join(", ")
        );
        findings.add("E-CHOICE", at, path, message);
    }
}

fn check_list(
    at: Place,
    items: &[Node],
    of: &Shape,
    empty: bool,
    path: &str,
    findings: &mut Findings,
) {
    if items.is_empty() && !empty {
        let message = "the list is empty, which has no meaning here; add an item or remove the key";
        findings.add("E-EMPTY-LIST", at, path, message);
    }
    let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
    for (index, node) in items.iter().enumerate() {
        let path = item(path, index);
        check(node, of, &path, findings);
        if let Value::Text(text) = &node.value
            && let Some(first) = seen.insert(text, node.at)
        {
            let message = format!("the same as on line {}; remove one", first.line);
            findings.add("E-DUPLICATE-ITEM", node.at, &path, message);
        }
    }
}

fn check_record(
    node: &Node,
    record: &'static Record,
    entries: &[(Key, Node)],
    path: &str,
    findings: &mut Findings,
) {
    check_duplicates(entries, path, findings);
    for (key, value) in entries {
        let path = join(path, &key.name);
        match record.field(&key.name) {
            Some(field) => check(value, &field.shape, &path, findings),
            None if key.name == "<<" => add_merge_key(key, &path, findings),
            None => add_unknown_key(key, record, &path, findings),
        }
    }
    let missing =
        |field: &&Field| field.required && !entries.iter().any(|(key, _)| key.name == field.name);
    for field in record.fields.iter().filter(missing) {
        let message = format!(
            "{} needs `{}`: {}",
            record.label,
            field.name,
            lower_first(field.meaning)
        );
        findings.add("E-MISSING-KEY", node.at, join(path, field.name), message);
    }
}

fn check_duplicates(entries: &[(Key, Node)], path: &str, findings: &mut Findings) {
    let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
    for (key, _) in entries {
        if let Some(first) = seen.get(key.name.as_str()) {
            let message = format!(
                "the key occurs twice, first on line {}; remove one",
                first.line
            );
            findings.add("E-DUPLICATE-KEY", key.at, join(path, &key.name), message);
        } else {
            seen.insert(&key.name, key.at);
        }
    }
}

fn add_merge_key(key: &Key, path: &str, findings: &mut Findings) {
    let message = "merge keys (`<<`) are not allowed; use `templates` and `inherits`";
    findings.add("E-MERGE-KEY", key.at, path, message);
}

fn add_unknown_key(key: &Key, record: &'static Record, path: &str, findings: &mut Findings) {
    let name = shorten(&key.name);
    if key.name.is_empty() {
        let message = format!(
            "the key before the `:` is empty; {} has keys with names",
            record.label
        );
        findings.add("E-UNKNOWN-KEY", key.at, path, message);
        return;
    }
    if let Some((_, code, advice)) = record.retired.iter().find(|(old, ..)| *old == key.name) {
        findings.add(
            code,
            key.at,
            path,
            format!("`{name}` is not a key here: {advice}"),
        );
        return;
    }
    let hint = suggest::hint(&key.name, record.fields.iter().map(|field| field.name));
    let hint = if hint.is_empty() {
        let known: Vec<&str> = record.fields.iter().map(|field| field.name).collect();
        format!("; it has {}", known.join(", "))
    } else {
        hint
    };
    let message = format!("{} has no key `{name}`{hint}", record.label);
    findings.add("E-UNKNOWN-KEY", key.at, path, message);
}

/// Returns the message for a key that should be a name but means null or a boolean in YAML.
fn not_a_name(word: &str, reads_as: ReadsAs, names: Format) -> String {
    let label = names.label();
    let meaning = match reads_as {
        ReadsAs::Null => "null",
        ReadsAs::Bool => "a boolean",
    };
    if names.check(word).is_err() {
        return match word {
            "" => format!("the name before the `:` is empty; write a name ({label})"),
            _ => format!("`{word}` means {meaning} in YAML; write a name ({label})"),
        };
    }
    format!(
        "`{word}` means {meaning} in YAML, but a name ({label}) is required; if it is the name, put it in quotes: \
         \"{word}\""
    )
}

/// Returns the message for a null value.
fn null_value(word: &str, shape: &Shape) -> String {
    let quotes = match shape {
        Shape::Text(_) if !word.is_empty() && word != "~" => {
            format!("; if it is meant as text, put it in quotes: \"{word}\"")
        }
        _ => String::new(),
    };
    let fault = if word.is_empty() {
        "has no value".to_owned()
    } else {
        format!("`{word}` means null in YAML")
    };
    format!(
        "{fault}; write {} or remove the key{quotes}",
        expected(shape)
    )
}

fn wrong_type(shape: &Shape, found: &Value, plain: bool) -> String {
    let advice = match (shape, found) {
        (Shape::Text(format), Value::Int(_) | Value::Number(_)) if format.is_duration() => {
            "; write it with its unit, as in 90s or 5m".to_owned()
        }
        (Shape::Text(format), Value::Int(_) | Value::Bool(_) | Value::Number(_)) => {
            "; put it in quotes if it is meant as text".to_owned() + &quoted(found, *format)
        }
        (Shape::Choice(_), Value::Int(_) | Value::Bool(_) | Value::Number(_)) => {
            "; put it in quotes if it is meant as text".to_owned()
        }
        (Shape::Bool | Shape::BoolOrList(_), Value::Text(text)) => match intended_bool(text) {
            Some(word) if !plain => format!("; write {word} without quotes"),
            Some(word) => format!("; `{}` is text in YAML 1.2, so write {word}", shorten(text)),
            None => "; write true or false without quotes".to_owned(),
        },
        (Shape::Int { .. }, Value::Text(_)) => "; write digits without quotes".to_owned(),
        (Shape::List { .. }, Value::Text(_)) => "; write [a, b]".to_owned(),
        _ => String::new(),
    };
    format!(
        "is {}, but {} is expected{advice}",
        found.kind(),
        expected(shape)
    )
}

/// Returns `: "<value>"` to append to a message; empty if the value may be a secret.
fn quoted(found: &Value, format: Format) -> String {
    let text = match found {
        _ if format.may_be_secret() => return String::new(),
        Value::Int(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Number(text) => shorten(text),
        _ => return String::new(),
    };
    format!(": \"{text}\"")
}

/// Returns the boolean that YAML 1.1, or an author, means by a word.
fn intended_bool(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Some("true"),
        "false" | "no" | "n" | "off" => Some("false"),
        _ => None,
    }
}

/// Returns the description of the values that a shape accepts.
fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Text(format) => format!("text ({})", format.label()),
        Shape::Bool => "true or false".into(),
        Shape::Int { min, max } => format!("a whole number from {min} to {max}"),
        Shape::Choice(words) => format!("one of {}", words.join(", ")),
        Shape::List { .. } => "a list".into(),
        Shape::Map { key, .. } => format!("a mapping (each key is the name of a {})", key.label()),
        Shape::Record(record) => format!("a mapping ({})", record.label),
        Shape::BoolOrList(_) => "true, false or a list".into(),
        Shape::OneOrList(of) => format!("{} or a list", expected(of)),
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| {
            first.to_lowercase().chain(letters).collect::<String>()
        })
        .trim_end_matches('.')
        .to_owned()
}
