//! The grammar of caveats: one spelling each. Reading borrows; nothing here decides anything.

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

/// What stands between the brackets of `… IN […]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List<'a> {
    /// `*`
    Any,
    /// The items, not looked at yet.
    Items(&'a str),
}

/// A caveat that narrows; the only kind that a holder may append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit<'a> {
    List(Dimension, List<'a>),
    ExpiresBefore(Timestamp),
    CanDelegate(bool),
    DelegationDepth(u8),
}

/// A caveat as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caveat<'a> {
    Task(TaskId),
    Agent(AgentName),
    Holder(HolderKey),
    InitiatedBy(Initiator),
    Limit(Limit<'a>),
}

/// Why bytes are no caveat, or items no list.
pub(crate) type Why = &'static str;

impl<'a> Caveat<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Why> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let (keyword, rest) = text.split_once(' ').ok_or("it has no operator")?;
        let dimension = match keyword {
            "task" => {
                let id = value(rest, "= ")?.parse();
                return id.map(Self::Task).map_err(|_| "the task is not a ULID");
            }
            "agent" => {
                let name = AgentName::new(value(rest, "= ")?);
                return name.map(Self::Agent).map_err(|_| "the agent is not a name");
            }
            "holder" => {
                let key = HolderKey::from_caveat(value(rest, "= ")?);
                return key.map(Self::Holder).map_err(|_| "the holder is not a key");
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
                    _ => Err("can_delegate is neither true nor false"),
                };
            }
            "delegation_depth" => {
                let depth = parse_depth(value(rest, "<= ")?);
                let depth = depth.ok_or("the depth is not a number from 0 to 255")?;
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

fn value<'a>(rest: &'a str, operator: &str) -> Result<&'a str, Why> {
    rest.strip_prefix(operator)
        .ok_or("its operator is not the one of its subject")
}

fn parse_depth(text: &str) -> Option<u8> {
    let canonical = matches!(text.as_bytes(), [b'0'] | [b'1'..=b'9', ..])
        && text.bytes().all(|b| b.is_ascii_digit());
    if canonical { text.parse().ok() } else { None }
}

/// Reads the items of a flat list. They stand in the writer's order, each once.
pub(crate) fn parse_scope<T: Ord + FromStr>(list: List<'_>) -> Result<Scope<T>, Why> {
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

/// Reads the items of a paired list, `key:value+value,…`. They stand in the writer's order, each
/// key once and each value once under its key.
pub(crate) fn parse_grants<K: Ord + FromStr, V: Ord + FromStr>(
    list: List<'_>,
) -> Result<Grants<K, V>, Why> {
    let List::Items(items) = list else {
        return Ok(Grants::Any);
    };
    let mut map = BTreeMap::new();
    if !items.is_empty() {
        for item in items.split(',') {
            let (key, values) = item.split_once(':').ok_or("an item is not name:values")?;
            let key: K = key.parse().map_err(|_| "an item is not a name")?;
            let mut set = BTreeSet::new();
            for value in values.split('+') {
                insert_new(&mut set, value)?;
            }
            if map.insert(key, set).is_some() {
                return Err("an item stands there twice");
            }
        }
    }
    Ok(Grants::Only(map))
}

fn insert_new<T: Ord + FromStr>(set: &mut BTreeSet<T>, item: &str) -> Result<(), Why> {
    let item = item.parse().map_err(|_| "an item is not a name")?;
    if set.insert(item) {
        Ok(())
    } else {
        Err("an item stands there twice")
    }
}

/// Writes `<keyword> IN […]`, names in their order.
pub(crate) fn write_scope<T: Ord + Display>(dimension: Dimension, scope: &Scope<T>) -> String {
    let mut text = begun_list(dimension);
    match scope {
        Scope::Any => text.push('*'),
        Scope::Only(set) => write_items(&mut text, ",", set.iter()),
    }
    text.push(']');
    text
}

/// Writes `<keyword> IN [key:value+value,…]`, names in their order; a key without values is left out.
pub(crate) fn write_grants<K: Ord + Display, V: Ord + Display>(
    dimension: Dimension,
    grants: &Grants<K, V>,
) -> String {
    let mut text = begun_list(dimension);
    match grants {
        Grants::Any => text.push('*'),
        Grants::Only(map) => {
            let granted = map.iter().filter(|(_, values)| !values.is_empty());
            write_items(
                &mut text,
                ",",
                granted.map(|(key, values)| Pair(key, values)),
            );
        }
    }
    text.push(']');
    text
}

/// `<keyword> IN [`, with room for a short list.
fn begun_list(dimension: Dimension) -> String {
    let mut text = String::with_capacity(32);
    text.push_str(dimension.keyword());
    text.push_str(" IN [");
    text
}

struct Pair<'a, K, V>(&'a K, &'a BTreeSet<V>);

impl<K: Display, V: Ord + Display> Display for Pair<'_, K, V> {
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

    fn grants(list: &str) -> Result<Grants<TargetName, RoleName>, Why> {
        match Caveat::parse(list.as_bytes())? {
            Caveat::Limit(Limit::List(Dimension::Ssh, list)) => parse_grants(list),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_is_read_in_the_writers_order_and_written_in_that_of_names() {
        let read = grants("ssh IN [web:read+operator,db:read]").unwrap();
        assert_eq!(
            write_grants(Dimension::Ssh, &read),
            "ssh IN [db:read,web:operator+read]"
        );
        assert_eq!(grants("ssh IN [db:read,web:operator+read]").unwrap(), read);
    }

    #[test]
    fn the_empty_list_and_the_star_are_different_things() {
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
    fn what_would_be_written_otherwise_is_not_read() {
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
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Caveat::parse(&bytes);
        }
    }
}
