//! What `nft` lists of a table, in a form in which two tables can be compared: without counts, handles
//! and the order of what has none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ephyr_render::Count;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Flags and comments of the table itself.
    own: Vec<String>,
    /// Its chains, sets, maps and counters by their heads, such as `chain output`, with what stands in
    /// them line by line; sets without their elements, counters without their counts.
    blocks: BTreeMap<String, Vec<String>>,
    /// The elements of its sets and maps.
    elements: BTreeMap<String, BTreeSet<String>>,
}

/// What counters have counted, by their names.
pub(crate) type Counts = BTreeMap<String, Count>;

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
    /// Reads what `nft list table` prints, and what the table's counters say.
    ///
    /// It is text and not JSON, since nft 1.0.6 writes something of its memory where the JSON of a table has its flags.
    pub(crate) fn read(text: &str) -> Result<(Self, Counts), Unreadable> {
        let mut listing = Self {
            own: Vec::new(),
            blocks: BTreeMap::new(),
            elements: BTreeMap::new(),
        };
        let mut counts = Counts::new();
        let mut lines = text.lines();
        if !lines.next().is_some_and(|line| line.starts_with("table ")) {
            return Err(Unreadable("it does not begin with a table"));
        }
        while let Some(line) = lines.next() {
            match line.strip_prefix('\t') {
                Some(head) if head.ends_with('{') => {
                    let head = head.trim_end_matches('{').trim_end();
                    listing.block(head, &mut lines, &mut counts);
                }
                Some(own) => listing.own.push(own.trim().to_owned()),
                None if line.is_empty() || line == "}" => {}
                None => return Err(Unreadable("a line outside of the table")),
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

/// The elements of a set or a map, each as `nft` words it, with the white space of broken lines taken out.
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

/// What a counter counted: `packets 3 bytes 180`.
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
    fn counts_and_how_lines_are_broken_are_no_part_of_a_table() {
        let (listing, counts) = Listing::read(TABLE).unwrap();
        assert_eq!(counts["agent-a"].packets, 3);
        let other = TABLE
            .replace("packets 3 bytes 180", "packets 0 bytes 0")
            .replace(",\n\t\t\t     ", ", ");
        let (other, counts) = Listing::read(&other).unwrap();
        assert_eq!(counts["agent-a"].packets, 0);
        assert_eq!(listing, other);
        assert!(listing.differences(&other).is_empty());
    }

    #[test]
    fn every_part_of_a_table_counts() {
        let (listing, _) = Listing::read(TABLE).unwrap();
        for (from, to, said) in [
            ("1502", "1503", "set agents lacks 1502 comment \"b\""),
            ("\tflags dormant\n", "", "the table is marked ``"),
            ("type uid", "type mark", "set agents, line 1: `type mark`"),
            ("accept;", "drop;", "chain output, line 1"),
            ("jump agent", "return", "chain output, line 2"),
            (
                "counter agent-a",
                "counter agent-b",
                "counter agent-a is missing",
            ),
        ] {
            let (other, _) = Listing::read(&TABLE.replace(from, to)).unwrap();
            let said_of_it = other.differences(&listing)[0].to_string();
            assert!(said_of_it.starts_with(said), "{said_of_it}");
        }
        assert_eq!(listing.awake().own, Vec::<String>::new());
    }

    #[test]
    fn what_is_no_table_is_not_understood() {
        for text in ["", "chain x {", "table inet a {\n}\nmore"] {
            assert!(Listing::read(text).is_err(), "{text}");
        }
    }
}
