//! Typed access to a checked tree. Getters return only well-formed values; the checker has reported all others.

use ephyr_names::Ttl;
use ipnet::IpNet;

use crate::diagnostic::Place;
use crate::fields;
use crate::format;
use crate::path::{item, join};
use crate::rate::Rate;
use crate::shape::{Field, Record, Shape};
use crate::source::{Key, Node, Value};

/// A record of the tree; empty if the policy omits it.
#[derive(Clone)]
pub(super) struct View<'n> {
    at: Place,
    entries: &'n [(Key, Node)],
    record: &'static Record,
    path: String,
}

impl<'n> View<'n> {
    /// Returns the record of the whole file.
    pub(super) fn root(node: &'n Node) -> Self {
        Self::of(node, &fields::POLICY, String::new())
    }

    fn of(node: &'n Node, record: &'static Record, path: String) -> Self {
        let entries: &[(Key, Node)] = match &node.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        Self {
            at: node.at,
            entries,
            record,
            path,
        }
    }

    /// Returns the record under this key.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let Shape::Record(record) = self.field(key).shape else {
            unreachable!("`{key}` is not a record")
        };
        match self.node(key) {
            Some(node) => Self::of(node, record, self.path(key)),
            None => Self {
                at: self.at,
                entries: &[],
                record,
                path: self.path(key),
            },
        }
    }

    /// Returns the records of the mapping under this key that have well-formed names; the first of a repeated name.
    pub(super) fn map(&self, key: &'static str) -> Vec<(&'n Key, Self)> {
        let Shape::Map {
            key: names,
            value: Shape::Record(record),
        } = self.field(key).shape
        else {
            unreachable!("`{key}` is not a mapping of records")
        };
        let entries: &'n [(Key, Node)] = match self.node(key).map(|node| &node.value) {
            Some(Value::Map(entries)) => entries,
            _ => &[],
        };
        let path = self.path(key);
        let mut found: Vec<(&'n Key, Self)> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for (name, node) in entries {
            if names.check(&name.name).is_ok() && seen.insert(name.name.as_str()) {
                found.push((name, Self::of(node, record, join(&path, &name.name))));
            }
        }
        found
    }

    /// Returns the records of the list under this key.
    pub(super) fn records(&self, key: &'static str) -> Vec<Self> {
        let Shape::List {
            of: Shape::Record(record),
            ..
        } = self.field(key).shape
        else {
            unreachable!("`{key}` is not a list of records")
        };
        let path = self.path(key);
        self.items(key)
            .iter()
            .enumerate()
            .map(|(index, node)| Self::of(node, record, item(&path, index)))
            .collect()
    }

    /// Returns whether the key is present, even with a malformed value.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.node(key).is_some()
    }

    /// Returns whether the key's value is a mapping without entries.
    pub(super) fn is_empty(&self, key: &'static str) -> bool {
        self.node(key)
            .is_some_and(|node| matches!(&node.value, Value::Map(entries) if entries.is_empty()))
    }

    /// Returns the position of the key's value; that of the record if the key is missing.
    pub(super) fn at(&self, key: &'static str) -> Place {
        self.node(key).map_or(self.at, |node| node.at)
    }

    /// Returns the position of the record.
    pub(super) fn here(&self) -> Place {
        self.at
    }

    /// Returns the key path of a key.
    pub(super) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Returns the key path of the record.
    pub(super) fn own_path(&self) -> &str {
        &self.path
    }

    /// Returns the text under this key.
    pub(super) fn text(&self, key: &'static str) -> Option<&'n str> {
        let node = self.node(key)?;
        well_formed(node, &self.field(key).shape)
    }

    /// Returns the text under this key, parsed.
    pub(super) fn parsed<T: std::str::FromStr>(&self, key: &'static str) -> Option<T> {
        self.text(key)?.parse().ok()
    }

    /// Returns the well-formed texts of the list under this key with their indices.
    pub(super) fn texts(&self, key: &'static str) -> impl Iterator<Item = (usize, &'n str)> {
        let of: &Shape = match &self.field(key).shape {
            Shape::List { of, .. } | Shape::OneOrList(of) => of,
            Shape::BoolOrList(Shape::List { of, .. }) => of,
            _ => unreachable!("`{key}` is not a list of texts"),
        };
        self.items(key)
            .iter()
            .enumerate()
            .filter_map(|(index, node)| Some((index, well_formed(node, of)?)))
    }

    /// Returns the position and the key path of an item of the list under this key.
    pub(super) fn place_of(&self, key: &'static str, index: usize) -> (Place, String) {
        let path = self.path(key);
        match self.node(key).map(|node| &node.value) {
            Some(Value::List(items)) if index < items.len() => {
                (items[index].at, item(&path, index))
            }
            _ => (self.at(key), path),
        }
    }

    /// Returns the boolean under this key.
    pub(super) fn bool(&self, key: &'static str) -> Option<bool> {
        self.field(key);
        match self.node(key)?.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the number under this key, if it is within its bounds.
    pub(super) fn int(&self, key: &'static str) -> Option<u32> {
        let Shape::Int { min, max } = self.field(key).shape else {
            unreachable!("`{key}` is not a number")
        };
        match self.node(key)?.value {
            Value::Int(value) => u32::try_from(value)
                .ok()
                .filter(|value| (min..=max).contains(value)),
            _ => None,
        }
    }

    /// Returns the number under this key, whose bounds must fit a `u16`.
    pub(super) fn small_int(&self, key: &'static str) -> Option<u16> {
        self.int(key).and_then(|value| u16::try_from(value).ok())
    }

    /// Returns the duration under this key.
    pub(super) fn ttl(&self, key: &'static str) -> Option<Ttl> {
        self.parsed(key)
    }

    /// Returns the rate under this key.
    pub(super) fn rate(&self, key: &'static str) -> Option<Rate> {
        format::parse_rate(self.text(key)?).ok()
    }

    /// Returns the networks under this key.
    pub(super) fn cidrs(&self, key: &'static str) -> Vec<IpNet> {
        self.texts(key)
            .filter_map(|(_, text)| format::parse_cidr(text).ok())
            .collect()
    }

    fn items(&self, key: &'static str) -> &'n [Node] {
        match self.node(key) {
            Some(Node {
                value: Value::List(items),
                ..
            }) => items,
            Some(
                node @ Node {
                    value: Value::Text(_),
                    ..
                },
            ) if matches!(self.field(key).shape, Shape::OneOrList(_)) => std::slice::from_ref(node),
            _ => &[],
        }
    }

    fn node(&self, key: &'static str) -> Option<&'n Node> {
        self.field(key);
        self.entries
            .iter()
            .find(|(found, _)| found.name == key)
            .map(|(_, node)| node)
    }

    /// Returns the key's row in the table. Panics on a key that the table lacks: the checker would refuse it in every
    /// policy, so the compiler must not read it.
    fn field(&self, key: &'static str) -> &'static Field {
        match self.record.field(key) {
            Some(field) => field,
            None => unreachable!("{} has no key `{key}`", self.record.label),
        }
    }
}

fn well_formed<'n>(node: &'n Node, shape: &Shape) -> Option<&'n str> {
    let Value::Text(text) = &node.value else {
        return None;
    };
    let good = match shape {
        Shape::Text(format) => format.check(text).is_ok(),
        Shape::Choice(words) => words.contains(&text.as_str()),
        _ => false,
    };
    good.then_some(text.as_str())
}
