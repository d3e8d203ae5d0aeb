//! Validates a JSON text against a schema without building a tree.
//!
//! Messages name the argument and the expected type, never the value, which may be a secret.

use std::borrow::Cow;
use std::fmt;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::types::{Object, Schema, ValueKind};
use crate::suggest::{closest, quoted};

/// Why arguments do not match their schema, as a message for the agent that sent them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgumentError(String);

impl Object {
    /// Validates a call's arguments.
    ///
    /// # Errors
    /// The first fault: not an object, or an unknown, repeated, missing or mistyped member.
    pub fn check(&self, arguments: &RawValue) -> Result<(), ArgumentError> {
        self.check_at(&ValuePath::Top, arguments)
    }

    fn check_at(&self, place: &ValuePath<'_>, value: &RawValue) -> Result<(), ArgumentError> {
        let Some(members) = members(value) else {
            return Err(place.mismatch("an object", found(value)));
        };
        for (at, (name, value)) in members.iter().enumerate() {
            let member = self.members.iter().find(|member| member.name == *name);
            if members[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(ArgumentError(format!(
                    "{} is given twice",
                    place.member(name)
                )));
            }
            match member {
                Some(member) => member.schema.check_at(&place.member(name), value)?,
                None if self.open => {}
                None => return Err(self.unknown(place, name)),
            }
        }
        let missing = self
            .members
            .iter()
            .filter(|member| member.required)
            .find(|member| !members.iter().any(|(name, _)| *name == member.name));
        match missing {
            None => Ok(()),
            Some(member) => Err(ArgumentError(format!(
                "{} is missing: expected {}",
                place.member(&member.name),
                member.schema.expectation()
            ))),
        }
    }

    fn unknown(&self, place: &ValuePath<'_>, name: &str) -> ArgumentError {
        let names = || self.members.iter().map(|member| &*member.name);
        let hint = closest(name, names())
            .map(|name| format!("; did you mean {name:?}?"))
            .unwrap_or_default();
        let stop = if hint.is_empty() { "." } else { "" };
        let known = names().collect::<Vec<_>>().join(", ");
        let known = match known.as_str() {
            "" => "No arguments are accepted here".to_owned(),
            known => format!("Known are: {known}"),
        };
        ArgumentError(format!(
            "{} is not known{hint}{stop} {known}",
            place.member(name)
        ))
    }
}

impl Schema {
    /// Validates one value.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self, value: &RawValue) -> Result<(), ArgumentError> {
        self.check_at(&ValuePath::Top, value)
    }

    fn check_at(&self, place: &ValuePath<'_>, value: &RawValue) -> Result<(), ArgumentError> {
        let text = value.get();
        if self.nullable && text == "null" {
            return Ok(());
        }
        let fits = match &self.kind {
            ValueKind::String { characters } => match string(value) {
                Some(text) => return check_length(place, self, characters, &text),
                None => false,
            },
            ValueKind::OneOf(choices) => match string(value) {
                Some(text) => return check_choice(place, self, choices, &text),
                None => false,
            },
            ValueKind::Integer { range } => match text.parse::<i64>() {
                Ok(number) if range.contains(&number) => true,
                Ok(_) => return Err(place.mismatch(&self.expectation(), "one out of range")),
                Err(error) => match error.kind() {
                    IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
                        return Err(place.mismatch(&self.expectation(), "one out of range"));
                    }
                    _ => false,
                },
            },
            ValueKind::Number => found(value).starts_with("a number"),
            ValueKind::Boolean => matches!(text, "true" | "false"),
            ValueKind::Array { item, items } => match array(value) {
                Some(list) if items.contains(&list.len()) => {
                    for (at, value) in list.iter().enumerate() {
                        item.check_at(&ValuePath::Item(place, at), value)?;
                    }
                    true
                }
                Some(list) => {
                    let found = format!("{} items", list.len());
                    return Err(place.mismatch(&self.expectation(), &found));
                }
                None => false,
            },
            ValueKind::Object(object) => return object.check_at(place, value),
            ValueKind::Map {
                value: inner,
                entries,
            } => match members(value) {
                Some(list) => return self.check_map(place, inner, entries, &list),
                None => false,
            },
        };
        if fits {
            Ok(())
        } else {
            Err(place.mismatch(&self.expectation(), found(value)))
        }
    }

    fn check_map(
        &self,
        place: &ValuePath<'_>,
        inner: &Self,
        entries: &RangeInclusive<usize>,
        list: &[(Cow<'_, str>, &RawValue)],
    ) -> Result<(), ArgumentError> {
        if !entries.contains(&list.len()) {
            let found = format!("{} entries", list.len());
            return Err(place.mismatch(&self.expectation(), &found));
        }
        let mut names: Vec<&str> = list.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = place.member(pair[0]);
            return Err(ArgumentError(format!("{name} is given twice")));
        }
        for (name, value) in list {
            inner.check_at(&place.member(name), value)?;
        }
        Ok(())
    }

    fn expectation(&self) -> String {
        let mut text = match &self.kind {
            ValueKind::String { characters } => {
                format!("a string{}", extent(characters, "character"))
            }
            ValueKind::OneOf(choices) => {
                let choices: Vec<_> = choices.iter().map(|c| format!("{c:?}")).collect();
                format!("one of {}", choices.join(", "))
            }
            ValueKind::Integer { range } => match (*range.start(), *range.end()) {
                (i64::MIN, i64::MAX) => "an integer".to_owned(),
                (least, i64::MAX) => format!("an integer of at least {least}"),
                (i64::MIN, most) => format!("an integer of at most {most}"),
                (least, most) => format!("an integer from {least} to {most}"),
            },
            ValueKind::Number => "a number".to_owned(),
            ValueKind::Boolean => "true or false".to_owned(),
            ValueKind::Array { items, .. } => format!("a list{}", extent(items, "item")),
            ValueKind::Object(_) => "an object".to_owned(),
            ValueKind::Map { entries, .. } => format!("an object{}", extent(entries, "entry")),
        };
        if self.nullable {
            text.push_str(", or null");
        }
        text
    }
}

fn check_length(
    place: &ValuePath<'_>,
    schema: &Schema,
    characters: &RangeInclusive<usize>,
    text: &str,
) -> Result<(), ArgumentError> {
    let length = text.chars().count();
    if characters.contains(&length) {
        return Ok(());
    }
    let found = match length {
        0 => "an empty one".to_owned(),
        length => format!("one of {length}"),
    };
    Err(place.mismatch(&schema.expectation(), &found))
}

fn check_choice(
    place: &ValuePath<'_>,
    schema: &Schema,
    choices: &[Cow<'static, str>],
    text: &str,
) -> Result<(), ArgumentError> {
    if choices.iter().any(|choice| choice == text) {
        return Ok(());
    }
    let found = match closest(text, choices.iter().map(|choice| &**choice)) {
        Some(choice) => format!("another text; did you mean {choice:?}?"),
        None => "another text".to_owned(),
    };
    Err(place.mismatch(&schema.expectation(), &found))
}

fn extent(range: &RangeInclusive<usize>, unit: &str) -> String {
    let units = |count: usize| match (count, unit) {
        (1, unit) => format!("1 {unit}"),
        (count, "entry") => format!("{count} entries"),
        (count, unit) => format!("{count} {unit}s"),
    };
    match (*range.start(), *range.end()) {
        (0, usize::MAX) => String::new(),
        (0, most) => format!(" of at most {}", units(most)),
        (least, usize::MAX) => format!(" of at least {}", units(least)),
        (least, most) if least == most => format!(" of {}", units(most)),
        (least, most) => format!(" of {least} to {}", units(most)),
    }
}

/// The position of a value in the arguments.
enum ValuePath<'a> {
    Top,
    Member(&'a ValuePath<'a>, &'a str),
    Item(&'a ValuePath<'a>, usize),
}

impl<'a> ValuePath<'a> {
    fn member(&'a self, name: &'a str) -> Self {
        ValuePath::Member(self, name)
    }

    fn mismatch(&self, expected: &str, found: &str) -> ArgumentError {
        ArgumentError(format!("{self}: expected {expected}, got {found}"))
    }

    fn path(&self) -> String {
        match self {
            ValuePath::Top => String::new(),
            ValuePath::Member(ValuePath::Top, name) => (*name).to_owned(),
            ValuePath::Member(parent, name) => format!("{}.{name}", parent.path()),
            ValuePath::Item(parent, at) => format!("{}[{at}]", parent.path()),
        }
    }
}

impl fmt::Display for ValuePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValuePath::Top => f.write_str("the arguments"),
            _ => write!(f, "argument {}", quoted(&self.path())),
        }
    }
}

fn found(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'"') if string(value).is_none() => "a string that is not Unicode",
        Some(b'"') => "a string",
        Some(b'{') if members(value).is_none() => "an object with an unreadable name",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ if value.get().contains(['.', 'e', 'E']) => "a number with a fraction or exponent",
        _ => "a number",
    }
}

fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(value.get())
        .ok()
        .map(|text| text.0)
}

fn array(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

fn members(value: &RawValue) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_str::<Members<'_>>(value.get())
        .ok()
        .map(|members| members.0)
}

/// An object's members in their order, including repeated ones.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        #[derive(serde::Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        let mut members = Vec::with_capacity(8);
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            members.push((name, value));
        }
        Ok(Members(members))
    }
}
