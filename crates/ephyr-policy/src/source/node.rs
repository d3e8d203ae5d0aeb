//! The tree of a parsed file.

use crate::diagnostic::Place;

/// A node of the tree.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    /// Whether it is a scalar without quotes.
    pub(crate) plain: bool,
    pub(crate) value: Value,
}

/// The value of a node.
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

/// A key of a mapping.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) at: Place,
    pub(crate) name: String,
    /// The YAML type of an unquoted word, if it is not text.
    pub(crate) reads_as: Option<ReadsAs>,
}

/// The YAML type of an unquoted word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadsAs {
    /// `null`, `~` or empty.
    Nothing,
    /// `true` or `false`.
    Bool,
}
