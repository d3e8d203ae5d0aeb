//! From bytes to a tree in which every node knows its place.
//!
//! The parser is told to pass duplicate keys and merge keys through, so that they are reported together
//! with everything else. Anchors, aliases, foreign tags and second documents end the parsing: nothing in
//! the tree stands anywhere else than where it is read.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::budget::BudgetBreach;
use serde_yaml::{DuplicateKeyPolicy, Error, Location, MergeKeyPolicy, Spanned};

use crate::diagnostic::{Findings, Place};

/// Greatest size of a policy, in bytes.
pub const MAX_POLICY_BYTES: usize = 1024 * 1024;

/// Where what is wrong with a file as a whole is shown.
const START: Place = Place { line: 1, column: 1 };

/// A node of the tree.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) at: Place,
    pub(crate) name: String,
}

impl Value {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float => "a number with a fraction",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Parses the file; what is wrong with it is added to `findings`, and then there is no tree.
pub(crate) fn parse(bytes: &[u8], findings: &mut Findings) -> Option<Node> {
    if bytes.len() > MAX_POLICY_BYTES {
        let message = format!(
            "the file has {} bytes, at most {MAX_POLICY_BYTES} are read",
            bytes.len()
        );
        findings.add("E-TOO-BIG", START, "", message);
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = place_of_byte(bytes, error.valid_up_to());
            findings.add(
                "E-NOT-UTF8",
                at,
                "",
                "not UTF-8 text; save the file as UTF-8",
            );
            return None;
        }
    };
    match serde_yaml::from_str_with_options::<Option<Node>>(text, options()) {
        Ok(Some(node)) => Some(node),
        Ok(None) => {
            let message = "the policy is empty; it needs at least `agents`";
            findings.add("E-EMPTY", START, "", message);
            None
        }
        Err(error) => {
            add_parse_error(&error, findings);
            None
        }
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_documents: 1,
            max_anchors: 0,
            max_aliases: 0,
            max_depth: 32,
            max_nodes: 200_000,
            max_events: 600_000,
            max_total_scalar_bytes: MAX_POLICY_BYTES,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        strict_indentation: false,
        with_snippet: false,
    }
}

fn add_parse_error(error: &Error, findings: &mut Findings) {
    let at = error.location().map(place).unwrap_or_default();
    let (code, message) = match error {
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. } => anchors(),
            BudgetBreach::Documents { .. } => documents(),
            _ => (
                "E-YAML-LIMIT",
                "nested or repeated beyond what a policy needs; make it simpler".to_owned(),
            ),
        },
        Error::MultipleDocuments { .. } => documents(),
        Error::UnknownAnchor { .. } | Error::AliasError { .. } => anchors(),
        Error::UnsupportedTag { .. } | Error::TaggedStructFieldName { .. } => (
            "E-YAML-TAG",
            "tags (`!…`) are not allowed; write the plain value".to_owned(),
        ),
        other => {
            let text = other.to_string();
            let text = text.lines().next().unwrap_or_default();
            // The place is said already.
            let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
            ("E-YAML-SYNTAX", format!("cannot be read as YAML: {text}"))
        }
    };
    findings.add(code, at, "", message);
}

fn anchors() -> (&'static str, String) {
    let message = "anchors and aliases (`&`, `*`) are not allowed; use `templates` and `inherits`";
    ("E-YAML-ANCHOR", message.to_owned())
}

fn documents() -> (&'static str, String) {
    let message = "a policy is one YAML document; remove `---` and what follows";
    ("E-YAML-DOCUMENTS", message.to_owned())
}

fn place(location: Location) -> Place {
    Place {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

/// The place of a byte before which everything is valid UTF-8.
fn place_of_byte(bytes: &[u8], at: usize) -> Place {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count());
    Place {
        line: u32::try_from(line + 1).unwrap_or(u32::MAX),
        column: u32::try_from(column + 1).unwrap_or(u32::MAX),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            at: place(spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self {
            at: place(spanned.referenced),
            name: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Int(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Float)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}
