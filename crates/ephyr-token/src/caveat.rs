//! The grammar of caveats. Every caveat has one spelling, apart from the order of a list's items.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

use ephyr_names::{AgentName, TaskId, Timestamp};

use crate::keys::{HolderKey, Initiator};
use crate::time::parse_time;
use crate::{Grants, Scope};

/// The eight dimensions of authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Ssh,
    Http,
    Mcp,
    Target,
    Role,
    Service,
    Method,
    Remote,
}

impl Dimension {
    pub(crate) const fn keyword(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Http => "http",
            Self::Mcp => "mcp",
            Self::Target => "target",
            Self::Role => "role",
            Self::Service => "service",
            Self::Method => "method",
            Self::Remote => "remote",
        }
    }
}

/// The content of the brackets in `… IN […]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List<'a> {
    /// `*`
    Any,
    /// The items, not parsed yet.
    Items(&'a str),
}

/// A caveat that narrows. Holders may append only these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit<'a> {
    List(Dimension, List<'a>),
    ExpiresBefore(Timestamp),
    CanDelegate(bool),
    DelegationDepth(u8),
}

/// A parsed caveat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caveat<'a> {
    Task(TaskId),
    Agent(AgentName),
    Holder(HolderKey),
    InitiatedBy(Initiator),
    Limit(Limit<'a>),
}

/// Why a caveat or list is malformed.
pub(crate) type Reason = &'static str;

impl<'a> Caveat<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Reason> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let (keyword, rest) = text.split_once(' ').ok_or("it has no operator")?;
        let dimension = match keyword {
            "task" => {
                let id = value(rest, "= ")?.parse();
                return id.map(Self::Task).map_err(|_| "the task is not a ULID");
            }
            "agent" => {
                let name = AgentName::new(value(rest, "= ")?);
                return name
                    .map(Self::Agent)
                    .map_err(|_| "the agent name is invalid");
            }
            "holder" => {
                let key = HolderKey::from_caveat(value(rest, "= ")?);
                return key
                    .map(Self::Holder)
                    .map_err(|_| "the holder key is invalid");
            }
            "initiated_by" => {
                let by = value(rest, "= ")?.parse();
                return by
                    .map(Self::InitiatedBy)
                    .map_err(|_| "the initiator is malformed");
            }
            "expires_before" => {
                let time = parse_time(value(rest, "= ")?.as_bytes());
                let time = time.ok_or("the time is not RFC 3339 in UTC")?;
                return Ok(Self::Limit(Limit::ExpiresBefore(time)));
            }
            "can_delegate" => {
                return match value(rest, "= ")? {
                    "true" => Ok(Self::Limit(Limit::CanDelegate(true))),
                    "false" => Ok(Self::Limit(Limit::CanDelegate(false))),
                    _ => Err("can_delegate must be true or false"),
                };
            }
            "delegation_depth" => {
                let depth = parse_depth(value(rest, "<= ")?);
                let depth = depth.ok_or("the depth must be a number from 0 to 255")?;
                return Ok(Self::Limit(Limit::DelegationDepth(depth)));
            }
            "ssh" => Dimension::Ssh,
            "http" => Dimension::Http,
            "mcp" => Dimension::Mcp,
            "target" => Dimension::Target,
            "role" => Dimension::Role,
            "service" => Dimension::Service,
            "method" => Dimension::Method,
            "remote" => Dimension::Remote,
            _ => return Err("its subject is unknown"),
        };
        let items = value(rest, "IN [")?;
        let items = items.strip_suffix(']').ok_or("the list is not closed")?;
        let list = if items == "*" {
            List::Any
        } else {
            List::Items(items)
        };
        Ok(Self::Limit(Limit::List(dimension, list)))
    }
}

fn value<'a>(rest: &'a str, operator: &str) -> Result<&'a str, Reason> {
    rest.strip_prefix(operator)
        .ok_or("the operator is wrong for this subject")
}

fn parse_depth(text: &str) -> Option<u8> {
    let canonical = matches!(text.as_bytes(), [b'0'] | [b'1'..=b'9', ..])
        && text.bytes().all(|b| b.is_ascii_digit());
    if canonical { text.parse().ok() } else { None }
}

/// Parses the items of a flat list, in any order and without duplicates.
pub(crate) fn parse_scope<T: Ord + FromStr>(list: List<'_>) -> Result<Scope<T>, Reason> {
    let List::Items(items) = list else {
        return Ok(Scope::Any);
    };
    let mut set = BTreeSet::new();
    if !items.is_empty() {
        for item in items.split(',') {
            insert_new(&mut set, item)?;
        }
    }
    Ok(Scope::Only(set))
}

/// Parses the items of a paired list, `key:value+value,…`, in any order and without duplicate keys or
/// duplicate values of a key.
pub(crate) fn parse_grants<K: Ord + FromStr, V: Ord + FromStr>(
    list: List<'_>,
) -> Result<Grants<K, V>, Reason> {
    let List::Items(items) = list else {
        return Ok(Grants::Any);
    };
    let mut map = BTreeMap::new();
    if !items.is_empty() {
        for item in items.split(',') {
            let (key, values) = item.split_once(':').ok_or("an item is not name:values")?;
            let key: K = key.parse().map_err(|_| "an item is not a valid name")?;
            let mut set = BTreeSet::new();
            for value in values.split('+') {
                insert_new(&mut set, value)?;
            }
            if map.insert(key, set).is_some() {
                return Err("an item occurs twice");
            }
        }
    }
    Ok(Grants::Only(map))
}

fn insert_new<T: Ord + FromStr>(set: &mut BTreeSet<T>, item: &str) -> Result<(), Reason> {
    let item = item.parse().map_err(|_| "an item is not a valid name")?;
    if set.insert(item) {
        Ok(())
    } else {
        Err("an item occurs twice")
    }
}

/// Formats `<keyword> IN […]`, names sorted.
pub(crate) fn write_scope<T: Ord + Display>(dimension: Dimension, scope: &Scope<T>) -> String {
    let mut text = open_list(dimension);
    match scope {
        Scope::Any => text.push('*'),
        Scope::Only(set) => write_items(&mut text, ",", set.iter()),
    }
    text.push(']');
    text
}

/// Formats `<keyword> IN [key:value+value,…]`, names sorted; a key without values is omitted.
pub(crate) fn write_grants<K: Ord + Display, V: Ord + Display>(
    dimension: Dimension,
    grants: &Grants<K, V>,
) -> String {
    let mut text = open_list(dimension);
    match grants {
        Grants::Any => text.push('*'),
        Grants::Only(map) => {
            let granted = map.iter().filter(|(_, values)| !values.is_empty());
            write_items(
                &mut text,
                ",",
                granted.map(|(key, values)| PairedItem(key, values)),
            );
        }
    }
    text.push(']');
    text
}

/// Returns `<keyword> IN [`, with capacity for a short list.
fn open_list(dimension: Dimension) -> String {
    let mut text = String::with_capacity(32);
    text.push_str(dimension.keyword());
    text.push_str(" IN [");
    text
}

struct PairedItem<'a, K, V>(&'a K, &'a BTreeSet<V>);

impl<K: Display, V: Ord + Display> Display for PairedItem<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = String::new();
        write_items(&mut values, "+", self.1.iter());
        write!(f, "{}:{values}", self.0)
    }
}

fn write_items(text: &mut String, separator: &str, items: impl Iterator<Item = impl Display>) {
    for (i, item) in items.enumerate() {
        let separator = if i == 0 { "" } else { separator };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{item}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ephyr_names::{RoleName, TargetName};
    use proptest::prelude::*;

    fn grants(list: &str) -> Result<Grants<TargetName, RoleName>, Reason> {
        match Caveat::parse(list.as_bytes())? {
            Caveat::Limit(Limit::List(Dimension::Ssh, list)) => parse_grants(list),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_are_read_in_any_order_and_written_sorted() {
        let read = grants("ssh IN [web:read+operator,db:read]").unwrap();
        assert_eq!(
            write_grants(Dimension::Ssh, &read),
            "ssh IN [db:read,web:operator+read]"
        );
        assert_eq!(grants("ssh IN [db:read,web:operator+read]").unwrap(), read);
    }

    #[test]
    fn empty_list_and_star_differ() {
        assert_eq!(grants("ssh IN []"), Ok(Grants::none()));
        assert_eq!(grants("ssh IN [*]"), Ok(Grants::Any));
        assert_eq!(
            write_grants(Dimension::Ssh, &grants("ssh IN []").unwrap()),
            "ssh IN []"
        );
        assert_eq!(
            write_grants(Dimension::Ssh, &grants("ssh IN [*]").unwrap()),
            "ssh IN [*]"
        );
    }

    #[test]
    fn non_canonical_caveats_are_refused() {
        for list in [
            "ssh IN [a:r,a:s]",
            "ssh IN [a:r+r]",
            "ssh IN [a:]",
            "ssh IN [:r]",
            "ssh IN [a]",
            "ssh IN [,]",
            "ssh IN [a:r,]",
            "ssh IN [,a:r]",
            "ssh IN [a:r++s]",
            "ssh IN [a: r]",
            "ssh IN [ ]",
            "ssh IN [*,a:r]",
            "ssh IN [a:*]",
            "ssh IN [*:r]",
            "ssh IN [**]",
            "ssh IN [a:r:s]",
            "ssh IN [[a:r]]",
        ] {
            assert!(grants(list).is_err(), "{list}");
        }
        for caveat in [
            "",
            "ssh",
            "ssh ",
            "ssh IN",
            "ssh IN [a:r",
            "ssh IN a:r]",
            "ssh in [a:r]",
            " ssh IN [a:r]",
            "ssh IN [a:r]\n",
            "ssh  IN [a:r]",
            "SSH IN [a:r]",
            "ssh NOT IN [a:r]",
            "ssh = a:r",
            "shell IN [a]",
            "task=01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "agent = ",
            "agent= a",
            "task = 01arz3ndektsv4rrffq69g5fav",
            "can_delegate = 1",
            "can_delegate = true ",
            "can_delegate <= true",
            "delegation_depth <= 00",
            "delegation_depth <= 05",
            "delegation_depth <= +5",
            "delegation_depth <= 256",
            "delegation_depth <= ",
            "delegation_depth < 5",
            "delegation_depth = 5",
            "expires_before = now",
            "expires_before = ",
            "holder = ",
            "initiated_by = a b",
        ] {
            assert!(Caveat::parse(caveat.as_bytes()).is_err(), "{caveat}");
        }
        assert!(Caveat::parse(b"agent = \xFF").is_err());
    }

    proptest! {
        #[test]
        fn caveat_parser_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Caveat::parse(&bytes);
        }
    }
}
