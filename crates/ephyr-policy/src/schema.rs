//! Generates the JSON Schema (draft 2020-12) of the policy from the tables that the checker reads, so that the two
//! agree on the structure. Rules that concern more than one key are checked by the compiler only.

use serde_json::{Map, Value, json};

use crate::fields;
use crate::format::Format;
use crate::shape::{Field, Record, Shape};

/// Returns the content of `policy/schema.json`: the schema as indented JSON with a final newline.
#[must_use]
pub fn schema() -> String {
    let mut root = record(&fields::POLICY);
    let fixed = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ephyr policy",
    });
    if let (Value::Object(root), Value::Object(fixed)) = (&mut root, fixed) {
        root.extend(fixed);
        // The checker accepts an empty map here; the compiler refuses it with `E-NO-AGENTS`.
        if let Some(agents) = root.get_mut("properties").and_then(|p| p.get_mut("agents")) {
            agents["minProperties"] = json!(1);
        }
    }
    format!("{root:#}\n")
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text(format) => text(*format),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::List { of, empty } => list(of, *empty),
        Shape::Map { key, value } => json!({
            "type": "object",
            "propertyNames": text(*key),
            "additionalProperties": self::shape(value),
        }),
        Shape::Record(fields) => record(fields),
        Shape::BoolOrList(list) => json!({ "anyOf": [{ "type": "boolean" }, self::shape(list)] }),
        Shape::OneOrList(of) => json!({ "anyOf": [self::shape(of), list(of, false)] }),
    }
}

fn text(format: Format) -> Value {
    let mut text = Map::from_iter([("type".to_owned(), json!("string"))]);
    if let Some(pattern) = format.pattern() {
        text.insert("pattern".to_owned(), json!(pattern));
    }
    Value::Object(text)
}

fn list(of: &Shape, empty: bool) -> Value {
    let mut list = json!({ "type": "array", "items": shape(of) });
    if matches!(of, Shape::Text(_)) {
        list["uniqueItems"] = json!(true);
    }
    if !empty {
        list["minItems"] = json!(1);
    }
    list
}

fn record(record: &Record) -> Value {
    let properties: Map<String, Value> = record
        .fields
        .iter()
        .map(|field| (field.name.to_owned(), property(field)))
        .collect();
    let required: Vec<&str> = record
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let mut value = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        value["required"] = json!(required);
    }
    value
}

fn property(field: &Field) -> Value {
    let mut property = shape(&field.shape);
    let description = if field.default.is_empty() {
        field.meaning.to_owned()
    } else {
        format!("{} Default: {}.", field.meaning, field.default)
    };
    property["description"] = json!(description);
    property
}
