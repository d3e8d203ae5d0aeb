//! What `nft` lists of a table, in a form in which two tables can be compared: without counts, handles
//! and the order of what has none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ephyr_policy::Count;
use serde_json::Value;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Flags and comments of the table itself.
    own: Vec<String>,
    /// Its chains, sets, maps and counters by their heads, such as `chain output`, with what stands in
    /// them line by line; sets without their elements.
    blocks: BTreeMap<String, Vec<String>>,
    /// The elements of its sets and maps.
    elements: BTreeMap<String, BTreeSet<String>>,
}

/// A way in which a table is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// There is no table.
    Absent,
    /// There is one, and it cannot be listed.
    Unlisted { why: String },
    /// It has flags that it should not have, or lacks some.
    Own { found: String },
    /// A chain, set, map or counter is not there.
    Missing { block: String },
    /// A chain, set, map or counter is there that should not be.
    Foreign { block: String },
    /// Something within a chain or a set's declaration.
    Line {
        block: String,
        number: usize,
        found: Option<String>,
        expected: Option<String>,
    },
    /// An element that is not there.
    Lost { set: String, element: String },
    /// An element that should not be there.
    Added { set: String, element: String },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_nothing = |line: &Option<String>| {
            let quoted = line.as_ref().map(|line| format!("`{line}`"));
            quoted.unwrap_or_else(|| "nothing".to_owned())
        };
        match self {
            Self::Absent => f.write_str("there is no table inet ephyr"),
            Self::Unlisted { why } => write!(f, "the table cannot be looked at: {why}"),
            Self::Own { found } => write!(f, "the table is marked `{found}`"),
            Self::Missing { block } => write!(f, "{block} is missing"),
            Self::Foreign { block } => write!(f, "{block} does not belong there"),
            Self::Line {
                block,
                number,
                found,
                expected,
            } => write!(
                f,
                "{block}, line {number}: {} stands there instead of {}",
                or_nothing(found),
                or_nothing(expected)
            ),
            Self::Lost { set, element } => write!(f, "{set} lacks {element}"),
            Self::Added { set, element } => write!(f, "{set} has {element} too much"),
        }
    }
}

/// A listing that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("what nft lists is not understood: {0}")]
pub(crate) struct Unreadable(&'static str);

impl Listing {
    /// Reads both listings of a table: its structure as text, since JSON leaves out flags, and its elements
    /// as JSON, since text breaks their lines.
    pub(crate) fn read(structure: &str, json: &str) -> Result<Self, Unreadable> {
        let mut listing = Self {
            own: Vec::new(),
            blocks: BTreeMap::new(),
            elements: elements(json)?,
        };
        let mut lines = structure.lines();
        if !lines.next().is_some_and(|line| line.starts_with("table ")) {
            return Err(Unreadable("it does not begin with a table"));
        }
        while let Some(line) = lines.next() {
            match line.strip_prefix('\t') {
                Some(head) if head.ends_with('{') => {
                    let head = head.trim_end_matches('{').trim_end();
                    let body = lines.by_ref().take_while(|line| *line != "\t}");
                    let body = body.map(|line| line.trim().to_owned()).collect();
                    listing.blocks.insert(head.to_owned(), body);
                }
                Some(own) => listing.own.push(own.trim().to_owned()),
                None if line.is_empty() || line == "}" => {}
                None => return Err(Unreadable("a line outside of the table")),
            }
        }
        Ok(listing)
    }

    /// What a dormant copy says of the table that is awake.
    pub(crate) fn awake(mut self) -> Self {
        self.own.retain(|line| line != "flags dormant");
        self
    }

    /// How this table differs from what it should be.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.own != expected.own {
            let own = self.own.join("; ");
            found.push(Difference::Own { found: own });
        }
        for block in expected.blocks.keys() {
            if !self.blocks.contains_key(block) {
                let block = block.clone();
                found.push(Difference::Missing { block });
            }
        }
        for (block, lines) in &self.blocks {
            match expected.blocks.get(block) {
                None => found.push(Difference::Foreign {
                    block: block.clone(),
                }),
                Some(wanted) => found.extend(first_line(block, lines, wanted)),
            }
        }
        let none = BTreeSet::new();
        let sets: BTreeSet<_> = self
            .elements
            .keys()
            .chain(expected.elements.keys())
            .collect();
        for set in sets {
            let here = self.elements.get(set).unwrap_or(&none);
            let wanted = expected.elements.get(set).unwrap_or(&none);
            let lost = wanted.difference(here).map(|element| Difference::Lost {
                set: set.clone(),
                element: element.clone(),
            });
            let added = here.difference(wanted).map(|element| Difference::Added {
                set: set.clone(),
                element: element.clone(),
            });
            found.extend(lost.chain(added));
        }
        found
    }
}

/// Where two blocks first differ.
fn first_line(block: &str, lines: &[String], wanted: &[String]) -> Option<Difference> {
    let longest = lines.len().max(wanted.len());
    let number = (0..longest).find(|index| lines.get(*index) != wanted.get(*index))?;
    Some(Difference::Line {
        block: block.to_owned(),
        number: number + 1,
        found: lines.get(number).cloned(),
        expected: wanted.get(number).cloned(),
    })
}

fn objects(json: &str) -> Result<Vec<Value>, Unreadable> {
    match serde_json::from_str(json) {
        Ok(Value::Object(mut whole)) => match whole.remove("nftables") {
            Some(Value::Array(objects)) => Ok(objects),
            _ => Err(Unreadable("no nftables in its JSON")),
        },
        _ => Err(Unreadable("no JSON")),
    }
}

fn elements(json: &str) -> Result<BTreeMap<String, BTreeSet<String>>, Unreadable> {
    let mut all = BTreeMap::new();
    for object in objects(json)? {
        for kind in ["set", "map"] {
            let Some(set) = object.get(kind) else {
                continue;
            };
            let name = set["name"].as_str().ok_or(Unreadable("a nameless set"))?;
            let listed = set["elem"].as_array().map_or(&[][..], Vec::as_slice);
            let elements = listed.iter().map(word).collect();
            all.insert(format!("{kind} {name}"), elements);
        }
    }
    Ok(all)
}

/// An element as people write it, or else as JSON.
fn word(element: &Value) -> String {
    if let Some(inner) = element.get("elem") {
        let comment = inner["comment"].as_str().unwrap_or_default();
        let known = ["val", "comment"];
        let alone = inner
            .as_object()
            .is_some_and(|inner| inner.keys().all(|key| known.contains(&key.as_str())));
        if alone {
            return format!("{} ({comment})", word(&inner["val"]));
        }
    }
    if let Some(prefix) = element.get("prefix") {
        return format!("{}/{}", word(&prefix["addr"]), prefix["len"]);
    }
    if let Some(Value::Array(parts)) = element.get("concat") {
        let parts: Vec<String> = parts.iter().map(word).collect();
        return parts.join(" . ");
    }
    match element {
        Value::String(text) => text.clone(),
        Value::Array(pair) => pair.iter().map(word).collect::<Vec<_>>().join(" : "),
        other => other.to_string(),
    }
}

/// What the counters of a table have counted, by name.
pub(crate) fn counts(json: &str) -> Result<BTreeMap<String, Count>, Unreadable> {
    let counted = |object: &Value| {
        let counter = object.get("counter")?;
        let count = Count {
            packets: counter["packets"].as_u64()?,
            bytes: counter["bytes"].as_u64()?,
        };
        Some((counter["name"].as_str()?.to_owned(), count))
    };
    Ok(objects(json)?.iter().filter_map(counted).collect())
}
