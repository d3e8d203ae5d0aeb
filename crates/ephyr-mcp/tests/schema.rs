//! Compares the argument validation with an independent validator of the advertised JSON Schema.

#![cfg(test)]

use ephyr_mcp::schema::{Object, Schema};
use proptest::prelude::*;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

const NAMES: [&str; 4] = ["target", "role", "command", "timeout"];

fn schema() -> impl Strategy<Value = Schema> {
    let leaf = prop_oneof![
        (0_usize..4, 0_usize..6).prop_map(|(least, more)| Schema::string(least..=least + more)),
        (-5_i64..5, 0_i64..10).prop_map(|(least, more)| Schema::integer(least..=least + more)),
        Just(Schema::integer(i64::MIN..=i64::MAX)),
        Just(Schema::number()),
        Just(Schema::boolean()),
        Just(Schema::one_of(["read", "operator"])),
        Just(Schema::one_of(["read", "operator"]).nullable()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0_usize..3, 0_usize..3)
                .prop_map(|(item, least, more)| Schema::array(item, least..=least + more)),
            (inner.clone(), 0_usize..2, 0_usize..3)
                .prop_map(|(value, least, more)| Schema::map(value, least..=least + more)),
            object_of(inner.clone()).prop_map(Schema::object),
            inner.prop_map(Schema::nullable),
        ]
    })
}

fn object_of(member: impl Strategy<Value = Schema>) -> impl Strategy<Value = Object> {
    let members = proptest::collection::vec((member, any::<bool>()), 0..NAMES.len());
    (members, any::<bool>()).prop_map(|(members, open)| {
        let object = if open {
            Object::new().open()
        } else {
            Object::new()
        };
        let named = NAMES.into_iter().zip(members);
        named.fold(
            object,
            |object, (name, (schema, required))| match required {
                true => object.required(name, schema),
                false => object.optional(name, schema),
            },
        )
    })
}

/// Values that match the schemas often enough. Numbers like `1.0` are excluded: they are integers in JSON
/// Schema, and rejected by the check.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-8_i64..12).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        Just(json!(1.5)),
        Just(json!("read")),
        "[a-zäö😀\"\\\\\n]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let name = prop_oneof![proptest::sample::select(&NAMES[..]), Just("other")];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn check_agrees_with_the_advertised_schema(
        object in object_of(schema()),
        value in value(),
    ) {
        let advertised = serde_json::to_value(&object).unwrap();
        let validator = jsonschema::draft202012::new(&advertised).unwrap();
        let ours = object.check(&to_raw_value(&value).unwrap());
        prop_assert_eq!(
            ours.is_ok(),
            validator.is_valid(&value),
            "{} against {}: {:?}", value, advertised, ours
        );
    }

    #[test]
    fn any_json_is_checked_without_panicking(schema in schema(), text in "[\\[\\]{}:,\"a1.e\\\\ -]{0,24}") {
        if let Ok(raw) = serde_json::value::RawValue::from_string(text) {
            schema.check(&raw).ok();
        }
    }
}

#[test]
fn advertised_schema_is_valid_json_schema() {
    let object = Object::new()
        .required(
            "a",
            Schema::string(1..=2).describe("what").default_value(&"x"),
        )
        .optional(
            "b",
            Schema::map(Schema::array(Schema::number(), 0..=9), 0..=usize::MAX),
        );
    let advertised = serde_json::to_value(&object).unwrap();
    assert!(jsonschema::meta::is_valid(&advertised));
    let expected = json!({
        "type": "object",
        "properties": {
            "a": {
                "type": "string", "description": "what",
                "minLength": 1, "maxLength": 2, "default": "x",
            },
            "b": {
                "type": "object",
                "additionalProperties": {
                    "type": "array", "items": {"type": "number"}, "maxItems": 9,
                },
            },
        },
        "required": ["a"],
        "additionalProperties": false,
    });
    assert_eq!(advertised, expected);
}

#[test]
fn error_names_path_and_expected_type_and_never_the_value() {
    let inner = Object::new().required("port", Schema::integer(1..=65_535));
    let object = Object::new()
        .required("role", Schema::one_of(["read", "operator"]))
        .optional("hosts", Schema::array(Schema::object(inner), 0..=2))
        .optional("labels", Schema::map(Schema::string(0..=3), 0..=1))
        .optional("force", Schema::boolean().nullable());
    for (arguments, expected) in [
        (
            json!({}),
            "argument \"role\" is missing: expected one of \"read\", \"operator\"",
        ),
        (
            json!({"role": "oparator"}),
            "argument \"role\": expected one of \"read\", \"operator\", got another text; \
             did you mean \"operator\"?",
        ),
        (
            json!({"role": "hunter2hunter2"}),
            "argument \"role\": expected one of \"read\", \"operator\", got another text",
        ),
        (
            json!({"role": "read", "hosts": [{"port": 1}, {"port": 0}]}),
            "argument \"hosts[1].port\": expected an integer from 1 to 65535, got one out of range",
        ),
        (
            json!({"role": "read", "hosts": [{"port": 1}, {"port": 2}, {"port": 3}]}),
            "argument \"hosts\": expected a list of at most 2 items, got 3 items",
        ),
        (
            json!({"role": "read", "hosts": [7]}),
            "argument \"hosts[0]\": expected an object, got a number",
        ),
        (
            json!({"role": "read", "labels": {"a": "long"}}),
            "argument \"labels.a\": expected a string of at most 3 characters, got one of 4",
        ),
        (
            json!({"role": "read", "labels": {"a": "", "b": ""}}),
            "argument \"labels\": expected an object of at most 1 entry, got 2 entries",
        ),
        (
            json!({"role": "read", "force": "yes"}),
            "argument \"force\": expected true or false, or null, got a string",
        ),
        (
            json!({"role": "read", "secret-value": 1}),
            "argument \"secret-value\" is not known. Known are: role, hosts, labels, force",
        ),
        (json!([]), "the arguments: expected an object, got a list"),
    ] {
        let refused = object
            .check(&to_raw_value(&arguments).unwrap())
            .unwrap_err()
            .to_string();
        assert_eq!(refused, expected);
        assert!(!refused.contains("hunter2"));
    }
    let none = Object::new().check(&to_raw_value(&json!({"x": 1})).unwrap());
    let none = none.unwrap_err().to_string();
    assert_eq!(
        none,
        "argument \"x\" is not known. No arguments are accepted here"
    );
}
