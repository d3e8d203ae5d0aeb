//! A second, naive implementation of `docs/tokens.md` on strings and sets, without types of the crate.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const DIMENSIONS: [&str; 8] = [
    "ssh", "http", "mcp", "target", "role", "service", "method", "remote",
];

/// A token's caveats as reduced by the naive reader.
#[derive(Debug, PartialEq)]
pub(crate) struct Naive {
    /// Task, agent, holder.
    pub(crate) segments: Vec<(String, String, Option<String>)>,
    /// The envelope as JSON.
    pub(crate) envelope: Value,
}

/// A list's items, pairs as `key:value`; `None` is `*`.
type Set = Option<BTreeSet<String>>;

/// Reduces caveats, of which the first `broker` are the broker's; `None` if they are refused.
pub(crate) fn reduce(root: &str, broker: usize, caveats: &[String]) -> Option<Naive> {
    let (first, second) = caveats.split_at_checked(broker)?;
    let mut segments: Vec<Vec<&str>> = Vec::new();
    for caveat in first {
        if caveat.starts_with("task = ") {
            segments.push(Vec::new());
        }
        segments.last_mut()?.push(caveat);
    }
    if segments.is_empty() || segments.len() > 6 {
        return None;
    }
    let mut lineage = Vec::new();
    let mut limits: Vec<&str> = Vec::new();
    let mut root_limits = 0;
    for segment in &segments {
        let (head, rest) = read_head(segment)?;
        if lineage.iter().any(|(task, _, _)| *task == head.0) {
            return None;
        }
        if lineage.is_empty() {
            root_limits = rest.len();
        }
        lineage.push(head);
        limits.extend(rest);
    }
    if lineage[0].0 != root {
        return None;
    }
    let broker_limits = limits.len();
    limits.extend(second.iter().map(String::as_str));
    let envelope = read_limits(&limits, root_limits, broker_limits)?;
    Some(Naive {
        segments: lineage,
        envelope,
    })
}

type Head = (String, String, Option<String>);

fn read_head<'a>(segment: &[&'a str]) -> Option<(Head, Vec<&'a str>)> {
    let task = segment.first()?.strip_prefix("task = ")?;
    let agent = segment.get(1)?.strip_prefix("agent = ")?;
    if !is_ulid(task) || !is_name(agent, 63, "._-") {
        return None;
    }
    let mut rest = segment[2..].to_vec();
    let mut holder = None;
    if let Some(key) = rest.first().and_then(|c| c.strip_prefix("holder = ")) {
        let bytes = URL_SAFE_NO_PAD.decode(key).ok()?;
        if bytes.len() != 32 {
            return None;
        }
        holder = Some(key.to_owned());
        rest.remove(0);
    }
    if let Some(by) = rest.first().and_then(|c| c.strip_prefix("initiated_by = ")) {
        let known = |c: char| c.is_ascii_alphanumeric() || "._:@/-".contains(c);
        if by.is_empty() || by.len() > 128 || !by.chars().all(known) {
            return None;
        }
        rest.remove(0);
    }
    Some(((task.to_owned(), agent.to_owned(), holder), rest))
}

fn read_limits(limits: &[&str], root: usize, broker: usize) -> Option<Value> {
    let mut sets: BTreeMap<&str, Set> = BTreeMap::new();
    let (mut expires, mut delegate, mut depth) = (None::<String>, None::<bool>, None::<u32>);
    for (i, limit) in limits.iter().enumerate() {
        if i == root {
            deny(&mut sets, &mut delegate, &mut depth);
            expires.as_ref()?;
        }
        if let Some(time) = limit.strip_prefix("expires_before = ") {
            let time = sortable_time(time)?;
            expires = Some(expires.map_or(time.clone(), |old| old.min(time)));
        } else if let Some(may) = limit.strip_prefix("can_delegate = ") {
            let may: bool = may.parse().ok()?;
            delegate = Some(delegate.unwrap_or(true) && may);
        } else if let Some(n) = limit.strip_prefix("delegation_depth <= ") {
            let number: u8 = n.parse().ok()?;
            if number.to_string() != n {
                return None;
            }
            depth = Some(depth.unwrap_or(255).min(number.into()));
        } else {
            let (dimension, set) = read_list(limit)?;
            if i >= broker && set.is_none() {
                return None;
            }
            let old = sets.remove(dimension);
            sets.insert(dimension, old.map_or(set.clone(), |old| both(old, set)));
        }
    }
    deny(&mut sets, &mut delegate, &mut depth);
    let expires = expires?.replace(".000Z", "Z");
    Some(json!({
        "ssh": paired(&sets["ssh"]), "http": paired(&sets["http"]), "mcp": paired(&sets["mcp"]),
        "targets": flat(&sets["target"]), "roles": flat(&sets["role"]),
        "services": flat(&sets["service"]), "methods": flat(&sets["method"]),
        "remotes": flat(&sets["remote"]),
        "expires": expires, "can_delegate": delegate, "delegation_depth": depth,
    }))
}

fn deny(sets: &mut BTreeMap<&str, Set>, delegate: &mut Option<bool>, depth: &mut Option<u32>) {
    for dimension in DIMENSIONS {
        sets.entry(dimension)
            .or_insert_with(|| Some(BTreeSet::new()));
    }
    delegate.get_or_insert(false);
    depth.get_or_insert(0);
}

fn read_list(limit: &str) -> Option<(&'static str, Set)> {
    let (subject, list) = limit.split_once(" IN [")?;
    let dimension = DIMENSIONS.into_iter().find(|d| *d == subject)?;
    let list = list.strip_suffix(']')?;
    if list == "*" {
        return Some((dimension, None));
    }
    let mut set = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for item in list.split(',').filter(|_| !list.is_empty()) {
        let (key, values): (_, Vec<_>) = match dimension {
            "ssh" | "http" | "mcp" => {
                let (key, values) = item.split_once(':')?;
                (
                    key,
                    values
                        .split('+')
                        .map(|value| format!("{key}:{value}"))
                        .collect(),
                )
            }
            _ => (item, vec![item.to_owned()]),
        };
        if !keys.insert(key) || !is_key(dimension, key) {
            return None;
        }
        for value in values {
            let fits = value
                .split_once(':')
                .is_none_or(|(_, value)| is_value(dimension, value));
            if !fits || !set.insert(value) {
                return None;
            }
        }
    }
    Some((dimension, Some(set)))
}

fn both(a: Set, b: Set) -> Set {
    match (a, b) {
        (None, set) | (set, None) => set,
        (Some(a), Some(b)) => Some(a.intersection(&b).cloned().collect()),
    }
}

fn flat(set: &Set) -> Value {
    set.as_ref().map_or(json!("*"), |set| json!(set))
}

fn paired(set: &Set) -> Value {
    let Some(set) = set else { return json!("*") };
    let mut map: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in set.iter().filter_map(|pair| pair.split_once(':')) {
        map.entry(key).or_default().push(value);
    }
    json!(map)
}

fn is_key(dimension: &str, text: &str) -> bool {
    match dimension {
        "mcp" | "remote" => is_name(text, 50, "-"),
        "method" => is_method(text),
        _ => is_name(text, 63, "._-"),
    }
}

fn is_value(dimension: &str, text: &str) -> bool {
    match dimension {
        "http" => is_method(text),
        "mcp" => {
            let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            (1..=128).contains(&text.len()) && !text.starts_with('.') && text.chars().all(known)
        }
        _ => is_name(text, 63, "._-"),
    }
}

fn is_method(text: &str) -> bool {
    (1..=16).contains(&text.len()) && text.chars().all(|c| c.is_ascii_uppercase())
}

fn is_name(text: &str, max: usize, also: &str) -> bool {
    text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

fn is_ulid(text: &str) -> bool {
    let known = |c: char| (c.is_ascii_uppercase() || c.is_ascii_digit()) && !"ILOU".contains(c);
    text.len() == 26 && text.chars().all(known) && text.starts_with(|c: char| c <= '7')
}

/// Normalizes a time to `…:SS.mmmZ`, so that texts sort like times; `None` if it is invalid.
fn sortable_time(text: &str) -> Option<String> {
    let (whole, millis) = match text.strip_suffix('Z')?.split_once('.') {
        Some((whole, millis)) if millis.len() == 3 && millis != "000" => (whole, millis),
        Some(_) => return None,
        None => (text.strip_suffix('Z')?, "000"),
    };
    let shape: String = whole
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    if shape != "0000-00-00T00:00:00" || !millis.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize, len: usize| whole[at..at + len].parse::<u32>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 2)?, part(8, 2)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = [
        31,
        if leap { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let days = *days.get(month.checked_sub(1)? as usize)?;
    let fits =
        (1..=days).contains(&day) && part(11, 2)? < 24 && part(14, 2)? < 60 && part(17, 2)? < 60;
    fits.then(|| format!("{whole}.{millis}Z"))
}
