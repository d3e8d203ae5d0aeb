//! The grammar of caveats: one spelling each. Reading borrows; nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

use ephyr_names::{AgentName, TaskId, Timestamp};

use crate::keys::{HolderKey, Initiator};
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

/// Reads `YYYY-MM-DDTHH:MM:SS[.mmm]Z`, the one spelling that [`Timestamp`] writes, without the
/// detours of a general RFC 3339 reader: this runs for every segment of every token presented.
fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let millis = match text.len() {
        20 => 0,
        24 if text[19] == b'.' => digits(&text[20..23]).filter(|millis| *millis != 0)?,
        _ => return None,
    };
    let punctuated = text[4] == b'-'
        && text[7] == b'-'
        && text[10] == b'T'
        && text[13] == b':'
        && text[16] == b':'
        && text[text.len() - 1] == b'Z';
    let (year, month, day) = (
        digits(&text[..4])?,
        digits(&text[5..7])?,
        digits(&text[8..10])?,
    );
    let (h, m, s) = (
        digits(&text[11..13])?,
        digits(&text[14..16])?,
        digits(&text[17..19])?,
    );
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && h < 24
        && m < 60
        && s < 60;
    if !punctuated || !in_range {
        return None;
    }
    let seconds = ((days_since_epoch(year, month, day) * 24 + h) * 60 + m) * 60 + s;
    Some(Timestamp::from_unix_millis(seconds * 1000 + millis))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, b| {
        b.is_ascii_digit().then(|| value * 10 + i64::from(b - b'0'))
    })
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, for the years 0 to 9999. Years are
/// counted from March, so that the leap day is the last of its year.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_1970: i64 = 719_468;
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Months from March on have 31, 30, 31, 30, 31 days, over and over.
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + leap_days + day_of_year - BEFORE_1970
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
    let mut text = format!("{} IN [", dimension.keyword());
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
    let mut text = format!("{} IN [", dimension.keyword());
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
