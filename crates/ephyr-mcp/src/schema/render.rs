//! Serialises schemas as JSON Schema 2020-12.

use std::ops::RangeInclusive;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::types::{Object, Schema, ValueKind};

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write_type(&mut map)?;
        if let Some(description) = &self.description {
            map.serialize_entry("description", description)?;
        }
        match &self.kind {
            ValueKind::String { characters } => {
                bounds(&mut map, ["minLength", "maxLength"], characters)?;
            }
            ValueKind::OneOf(choices) => {
                let choices = choices.iter().map(|choice| Some(&**choice));
                let null = self.nullable.then_some(None);
                map.serialize_entry("enum", &choices.chain(null).collect::<Vec<_>>())?;
            }
            ValueKind::Integer { range } => {
                map.serialize_entry("minimum", range.start())?;
                map.serialize_entry("maximum", range.end())?;
            }
            ValueKind::Number | ValueKind::Boolean => {}
            ValueKind::Array { item, items } => {
                map.serialize_entry("items", item)?;
                bounds(&mut map, ["minItems", "maxItems"], items)?;
            }
            ValueKind::Object(object) => object.write_members(&mut map)?,
            ValueKind::Map { value, entries } => {
                map.serialize_entry("additionalProperties", value)?;
                bounds(&mut map, ["minProperties", "maxProperties"], entries)?;
            }
        }
        if let Some(default) = &self.default {
            let raw: &RawValue =
                serde_json::from_str(default).map_err(serde::ser::Error::custom)?;
            map.serialize_entry("default", raw)?;
        }
        map.end()
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "object")?;
        self.write_members(&mut map)?;
        map.end()
    }
}

impl Schema {
    fn write_type<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let name = match self.kind {
            ValueKind::String { .. } | ValueKind::OneOf(_) => "string",
            ValueKind::Integer { .. } => "integer",
            ValueKind::Number => "number",
            ValueKind::Boolean => "boolean",
            ValueKind::Array { .. } => "array",
            ValueKind::Object(_) | ValueKind::Map { .. } => "object",
        };
        if self.nullable {
            map.serialize_entry("type", &[name, "null"])
        } else {
            map.serialize_entry("type", name)
        }
    }
}

impl Object {
    fn write_members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("properties", &Properties(self))?;
        let required: Vec<_> = self.members.iter().filter(|m| m.required).collect();
        if !required.is_empty() {
            let names: Vec<&str> = required.iter().map(|member| &*member.name).collect();
            map.serialize_entry("required", &names)?;
        }
        if !self.open {
            map.serialize_entry("additionalProperties", &false)?;
        }
        Ok(())
    }
}

struct Properties<'a>(&'a Object);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.members.iter().map(|m| (&m.name, &m.schema)))
    }
}

fn bounds<M: SerializeMap>(
    map: &mut M,
    [least, most]: [&'static str; 2],
    range: &RangeInclusive<usize>,
) -> Result<(), M::Error> {
    if *range.start() > 0 {
        map.serialize_entry(least, range.start())?;
    }
    if *range.end() < usize::MAX {
        map.serialize_entry(most, range.end())?;
    }
    Ok(())
}
