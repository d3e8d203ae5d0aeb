//! Parses the listing of a table by `nft` into a comparable form, without counter values, handles and the order of
//! unordered parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ephyr_render::Count;

/// The listing of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The table's own flags and comments.
    properties: Vec<String>,
    /// The lines of chains, sets, maps and counters by their heads, such as `chain output`, without the elements of
    /// sets and the values of counters.
    blocks: BTreeMap<String, Vec<String>>,
    /// The elements of sets and maps, by their heads.
    elements: BTreeMap<String, BTreeSet<String>>,
}

/// Counter values by counter name.
pub(crate) type Counts = BTreeMap<String, Count>;

/// A difference of a table from the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The table does not exist.
    Absent,
    /// The table cannot be listed.
    Unlistable { why: String },
    /// The table's flags or comments differ.
    Properties { found: String },
    /// A chain, set, map or counter is missing.
    MissingBlock { block: String },
    /// A chain, set, map or counter is unexpected.
    UnexpectedBlock { block: String },
    /// A line of a chain or of a set's declaration differs.
    Line {
        block: String,
        number: usize,
        found: Option<String>,
        expected: Option<String>,
    },
    /// An element of a set or map is missing.
    MissingElement { set: String, element: String },
    /// An element of a set or map is unexpected.
    UnexpectedElement { set: String, element: String },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_nothing = |line: &Option<String>| {
            let quoted = line.as_ref().map(|line| format!("`{line}`"));
            quoted.unwrap_or_else(|| "nothing".to_owned())
        };
        match self {
            Self::Absent => f.write_str("there is no table inet ephyr"),
            Self::Unlistable { why } => write!(f, "the table cannot be listed: {why}"),
            Self::Properties { found } => write!(f, "unexpected table properties: `{found}`"),
            Self::MissingBlock { block } => write!(f, "missing {block}"),
            Self::UnexpectedBlock { block } => write!(f, "unexpected {block}"),
            Self::Line {
                block,
                number,
                found,
                expected,
            } => write!(
                f,
                "{block}, line {number}: {} instead of {}",
                or_nothing(found),
                or_nothing(expected)
            ),
            Self::MissingElement { set, element } => {
                write!(f, "missing element {element} in {set}")
            }
            Self::UnexpectedElement { set, element } => {
                write!(f, "unexpected element {element} in {set}")
            }
        }
    }
}

/// The listing cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("cannot parse the output of `nft list table`: {0}")]
pub(crate) struct ParseError(&'static str);

impl Listing {
    /// Parses the output of `nft list table` into a listing and the table's counters.
    ///
    /// The format is text, since nft 1.0.6 writes uninitialized memory where the JSON of a table has its flags.
    pub(crate) fn parse(text: &str) -> Result<(Self, Counts), ParseError> {
        let mut listing = Self {
            properties: Vec::new(),
            blocks: BTreeMap::new(),
            elements: BTreeMap::new(),
        };
        let mut counts = Counts::new();
        let mut lines = text.lines();
        if !lines.next().is_some_and(|line| line.starts_with("table ")) {
            return Err(ParseError("it does not begin with a table"));
        }
        while let Some(line) = lines.next() {
            match line.strip_prefix('\t') {
                Some(head) if head.ends_with('{') => {
                    let head = head.trim_end_matches('{').trim_end();
                    listing.block(head, &mut lines, &mut counts);
                }
                Some(property) => listing.properties.push(property.trim().to_owned()),
                None if line.is_empty() || line == "}" => {}
                None => return Err(ParseError("a line outside of the table")),
            }
        }
        Ok((listing, counts))
    }

    fn block<'a>(
        &mut self,
        head: &str,
        lines: &mut impl Iterator<Item = &'a str>,
        counts: &mut Counts,
    ) {
        let mut body = Vec::new();
        while let Some(line) = lines.next().filter(|line| *line != "\t}") {
            let line = line.trim();
            if let Some(first) = line.strip_prefix("elements = {") {
                let elements = elements(first, lines);
                self.elements.insert(head.to_owned(), elements);
            } else if let (Some(name), Some(count)) = (head.strip_prefix("counter "), count(line)) {
                counts.insert(name.to_owned(), count);
            } else {
                body.push(line.to_owned());
            }
        }
        self.blocks.insert(head.to_owned(), body);
    }

    /// Returns the listing of a dormant copy as that of an active table.
    pub(crate) fn active(mut self) -> Self {
        self.properties.retain(|line| line != "flags dormant");
        self
    }

    /// Returns the differences of this table from the expected one.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.properties != expected.properties {
            let properties = self.properties.join("; ");
            found.push(Difference::Properties { found: properties });
        }
        for block in expected.blocks.keys() {
            if !self.blocks.contains_key(block) {
                let block = block.clone();
                found.push(Difference::MissingBlock { block });
            }
        }
        for (block, lines) in &self.blocks {
            match expected.blocks.get(block) {
                None => found.push(Difference::UnexpectedBlock {
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
            let missing = wanted
                .difference(here)
                .map(|element| Difference::MissingElement {
                    set: set.clone(),
                    element: element.clone(),
                });
            let unexpected = here
                .difference(wanted)
                .map(|element| Difference::UnexpectedElement {
                    set: set.clone(),
                    element: element.clone(),
                });
            found.extend(missing.chain(unexpected));
        }
        found
    }
}

/// Returns the first line in which two blocks differ.
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

/// Parses the elements of a set or map, which `nft` breaks into several lines.
fn elements<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut text = first.to_owned();
    while text.ends_with(',') {
        let Some(line) = lines.next() else {
            break;
        };
        text.push(' ');
        text.push_str(line.trim());
    }
    let inner = text.trim_end_matches('}').trim();
    inner.split(", ").map(str::to_owned).collect()
}

/// Parses a counter's value, such as `packets 3 bytes 180`.
fn count(line: &str) -> Option<Count> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["packets", packets, "bytes", bytes] = words[..] else {
        return None;
    };
    Some(Count {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "table inet ephyr {
\tflags dormant
\tcounter agent-a {
\t\tpackets 3 bytes 180
\t}

\tset agents {
\t\ttype uid
\t\telements = { 1501 comment \"a\",
\t\t\t     1502 comment \"b\" }
\t}

\tchain output {
\t\ttype filter hook output priority filter + 10; policy accept;
\t\tmeta skuid @agents jump agent
\t}
}
";

    #[test]
    fn counter_values_and_line_breaks_are_no_difference() {
        let (listing, counts) = Listing::parse(TABLE).unwrap();
        assert_eq!(counts["agent-a"].packets, 3);
        let other = TABLE
            .replace("packets 3 bytes 180", "packets 0 bytes 0")
            .replace(",\n\t\t\t     ", ", ");
        let (other, counts) = Listing::parse(&other).unwrap();
        assert_eq!(counts["agent-a"].packets, 0);
        assert_eq!(listing, other);
        assert!(listing.differences(&other).is_empty());
    }

    #[test]
    fn change_of_any_part_is_a_difference() {
        let (listing, _) = Listing::parse(TABLE).unwrap();
        for (from, to, expected) in [
            (
                "1502",
                "1503",
                "missing element 1502 comment \"b\" in set agents",
            ),
            ("\tflags dormant\n", "", "unexpected table properties: ``"),
            ("type uid", "type mark", "set agents, line 1: `type mark`"),
            ("accept;", "drop;", "chain output, line 1"),
            ("jump agent", "return", "chain output, line 2"),
            (
                "counter agent-a",
                "counter agent-b",
                "missing counter agent-a",
            ),
        ] {
            let (other, _) = Listing::parse(&TABLE.replace(from, to)).unwrap();
            let difference = other.differences(&listing)[0].to_string();
            assert!(difference.starts_with(expected), "{difference}");
        }
        assert_eq!(listing.active().properties, Vec::<String>::new());
    }

    #[test]
    fn output_that_is_not_a_table_is_an_error() {
        for text in ["", "chain x {", "table inet a {\n}\nmore"] {
            assert!(Listing::parse(text).is_err(), "{text}");
        }
    }
}
