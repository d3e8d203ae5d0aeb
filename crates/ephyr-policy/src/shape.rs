//! What a policy may look like: the vocabulary in which `fields.rs` writes the tables that the checker,
//! the JSON Schema and the reference in `docs/policy.md` are all made from.

use crate::format::Format;

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Text of a form.
    Text(Format),
    /// `true` or `false`.
    Bool,
    /// A whole number within these bounds.
    Int { min: u32, max: u32 },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list without repetition, which may be empty or not.
    List { of: &'static Self, empty: bool },
    /// A mapping from names to values.
    Map { key: Format, value: &'static Self },
    /// A mapping with these keys.
    Record(&'static Record),
    /// `true`, `false` or a list.
    BoolOrList(&'static Self),
    /// One text, or a list of them.
    OneOrList(&'static Self),
}

/// A mapping with fixed keys.
#[derive(Debug)]
pub(crate) struct Record {
    /// What it is, for people: "a target".
    pub(crate) what: &'static str,
    pub(crate) fields: &'static [Field],
    /// Keys that people may expect here, with the code and what to use instead.
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
    /// The value that stands where the key is left out, for people.
    pub(crate) default: &'static str,
    /// What it means, with its unit.
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
