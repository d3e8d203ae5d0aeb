//! The tree of a parsed file.

use crate::diagnostic::Place;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    /// Whether it is an unquoted scalar.
    pub(crate) plain: bool,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// Null, with its spelling, which may be empty.
    Null(String),
    Bool(bool),
    /// A whole number in decimal digits.
    Int(i128),
    /// Any other number, as written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) at: Place,
    pub(crate) name: String,
    /// The YAML type of an unquoted key, if it is not text.
    pub(crate) reads_as: Option<ReadsAs>,
}

/// The YAML type of an unquoted scalar that is neither text nor a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadsAs {
    /// `null`, `~` or empty.
    Null,
    Bool,
}
