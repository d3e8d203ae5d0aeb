//! What a tool takes and gives, declared once: the JSON Schema (2020-12) that clients see and the
//! check that arguments must pass are both read off the same value.
//!
//! ```
//! use ephyr_mcp::schema::{Object, Schema};
//!
//! let input = Object::new()
//!     .required("target", Schema::string(1..=63).describe("the host to run on"))
//!     .optional("timeout", Schema::integer(1..=300).default_value(&30));
//! let arguments = serde_json::value::to_raw_value(&serde_json::json!({"target": "web", "timeuot": 5}))?;
//! let refused = input.check(&arguments).unwrap_err().to_string();
//! assert_eq!(
//!     refused,
//!     "argument \"timeuot\" is not known; did you mean \"timeout\"? Known are: target, timeout"
//! );
//! # Ok::<(), serde_json::Error>(())
//! ```

mod check;
mod render;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde::Serialize;

pub use check::ArgumentError;

/// The shape of one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    kind: Kind,
    description: Option<Cow<'static, str>>,
    default: Option<String>,
    nullable: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
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
    /// A text with a number of characters (Unicode scalar values) in the range.
    #[must_use]
    pub fn string(characters: RangeInclusive<usize>) -> Self {
        Self::of(Kind::String { characters })
    }

    /// One of the texts listed.
    #[must_use]
    pub fn one_of<T: Into<Cow<'static, str>>>(choices: impl IntoIterator<Item = T>) -> Self {
        Self::of(Kind::OneOf(choices.into_iter().map(Into::into).collect()))
    }

    /// A whole number in the range, written without fraction or exponent.
    #[must_use]
    pub fn integer(range: RangeInclusive<i64>) -> Self {
        Self::of(Kind::Integer { range })
    }

    /// Any number.
    #[must_use]
    pub fn number() -> Self {
        Self::of(Kind::Number)
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean() -> Self {
        Self::of(Kind::Boolean)
    }

    /// A list with a number of items in the range.
    #[must_use]
    pub fn array(item: Self, items: RangeInclusive<usize>) -> Self {
        let item = Box::new(item);
        Self::of(Kind::Array { item, items })
    }

    /// An object with named members.
    #[must_use]
    pub fn object(object: Object) -> Self {
        Self::of(Kind::Object(object))
    }

    /// An object with any member names, all of one shape, and a number of them in the range.
    #[must_use]
    pub fn map(value: Self, entries: RangeInclusive<usize>) -> Self {
        let value = Box::new(value);
        Self::of(Kind::Map { value, entries })
    }

    /// Says what the value is for.
    #[must_use]
    pub fn describe(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Advertises what an absent value stands for; applying it is the tool's work.
    #[must_use]
    pub fn default_value<T: Serialize>(mut self, value: &T) -> Self {
        self.default = serde_json::to_string(value).ok();
        self
    }

    /// Lets `null` stand in place of the value.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            description: None,
            default: None,
            nullable: false,
        }
    }
}

/// An object with named members. Unless it is [`open`](Self::open), no others may stand in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    members: Vec<Member>,
    open: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Member {
    name: Cow<'static, str>,
    schema: Schema,
    required: bool,
}

impl Object {
    /// An object without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member that must be there.
    #[must_use]
    pub fn required(self, name: impl Into<Cow<'static, str>>, schema: Schema) -> Self {
        self.member(name.into(), schema, true)
    }

    /// Adds a member that may be left out.
    #[must_use]
    pub fn optional(self, name: impl Into<Cow<'static, str>>, schema: Schema) -> Self {
        self.member(name.into(), schema, false)
    }

    /// Lets members stand in the object that were not named: for results, so that they may grow.
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
