//! Types of the tables in `fields`. The checker, the JSON Schema and the reference in `docs/policy.md` all read them.

use crate::format::Format;

/// The accepted type of a value.
#[derive(Debug)]
pub(crate) enum Shape {
    Text(Format),
    Bool,
    /// A whole number; both bounds are included.
    Int {
        min: u32,
        max: u32,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list without repeated texts; `empty`: it may have no items.
    List {
        of: &'static Self,
        empty: bool,
    },
    /// A mapping with arbitrary keys of one format.
    Map {
        key: Format,
        value: &'static Self,
    },
    /// A mapping with fixed keys.
    Record(&'static Record),
    /// A boolean or this list.
    BoolOrList(&'static Self),
    /// One text or a nonempty list of them.
    OneOrList(&'static Self),
}

/// A mapping with fixed keys.
#[derive(Debug)]
pub(crate) struct Record {
    /// The noun for messages, such as "a target".
    pub(crate) label: &'static str,
    pub(crate) fields: &'static [Field],
    /// Keys that operators may expect here: the key, its diagnostic code and the advice.
    pub(crate) retired: &'static [(&'static str, &'static str, &'static str)],
}

impl Record {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A key of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) required: bool,
    /// The default as documentation; empty if there is none.
    pub(crate) default: &'static str,
    /// The description with its unit, for the schema, the reference and messages.
    pub(crate) meaning: &'static str,
}

impl Field {
    pub(crate) const fn new(name: &'static str, shape: Shape, meaning: &'static str) -> Self {
        Self {
            name,
            shape,
            required: false,
            default: "",
            meaning,
        }
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }
}
