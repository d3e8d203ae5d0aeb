//! The schema types.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde::Serialize;

/// The schema of one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    pub(super) kind: ValueKind,
    pub(super) description: Option<Cow<'static, str>>,
    pub(super) default: Option<String>,
    pub(super) nullable: bool,
}

/// The type of a value and its limits.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ValueKind {
    String {
        characters: RangeInclusive<usize>,
    },
    OneOf(Vec<Cow<'static, str>>),
    Integer {
        range: RangeInclusive<i64>,
    },
    Number,
    Boolean,
    Array {
        item: Box<Schema>,
        items: RangeInclusive<usize>,
    },
    Object(Object),
    Map {
        value: Box<Schema>,
        entries: RangeInclusive<usize>,
    },
}

impl Schema {
    /// A string with a length in the range, in characters (Unicode scalar values).
    #[must_use]
    pub fn string(characters: RangeInclusive<usize>) -> Self {
        Self::of(ValueKind::String { characters })
    }

    /// One of the listed strings.
    #[must_use]
    pub fn one_of<T: Into<Cow<'static, str>>>(choices: impl IntoIterator<Item = T>) -> Self {
        Self::of(ValueKind::OneOf(
            choices.into_iter().map(Into::into).collect(),
        ))
    }

    /// An integer in the range, written without fraction or exponent.
    #[must_use]
    pub fn integer(range: RangeInclusive<i64>) -> Self {
        Self::of(ValueKind::Integer { range })
    }

    /// Any number.
    #[must_use]
    pub fn number() -> Self {
        Self::of(ValueKind::Number)
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean() -> Self {
        Self::of(ValueKind::Boolean)
    }

    /// A list with a number of items in the range.
    #[must_use]
    pub fn array(item: Self, items: RangeInclusive<usize>) -> Self {
        let item = Box::new(item);
        Self::of(ValueKind::Array { item, items })
    }

    /// An object with named members.
    #[must_use]
    pub fn object(object: Object) -> Self {
        Self::of(ValueKind::Object(object))
    }

    /// An object with arbitrary member names, values of one schema, and a number of members in the range.
    #[must_use]
    pub fn map(value: Self, entries: RangeInclusive<usize>) -> Self {
        let value = Box::new(value);
        Self::of(ValueKind::Map { value, entries })
    }

    /// Sets the description.
    #[must_use]
    pub fn describe(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Advertises a default; the tool has to apply it.
    #[must_use]
    pub fn default_value<T: Serialize>(mut self, value: &T) -> Self {
        self.default = serde_json::to_string(value).ok();
        self
    }

    /// Allows `null` instead of the value.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    fn of(kind: ValueKind) -> Self {
        Self {
            kind,
            description: None,
            default: None,
            nullable: false,
        }
    }
}

/// An object with named members. Other members are allowed only if it is [`open`](Self::open).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    pub(super) members: Vec<Member>,
    pub(super) open: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub(super) name: Cow<'static, str>,
    pub(super) schema: Schema,
    pub(super) required: bool,
}

impl Object {
    /// An object without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a required member.
    #[must_use]
    pub fn required(self, name: impl Into<Cow<'static, str>>, schema: Schema) -> Self {
        self.member(name.into(), schema, true)
    }

    /// Adds an optional member.
    #[must_use]
    pub fn optional(self, name: impl Into<Cow<'static, str>>, schema: Schema) -> Self {
        self.member(name.into(), schema, false)
    }

    /// Allows other members: for results, which later versions may extend.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }

    fn member(mut self, name: Cow<'static, str>, schema: Schema, required: bool) -> Self {
        self.members.push(Member {
            name,
            schema,
            required,
        });
        self
    }
}
