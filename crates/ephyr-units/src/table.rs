//! The table of units.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The table as it is written: `nixos-module/units.toml`.
pub const TABLE: &str = include_str!("../../../nixos-module/units.toml");

/// The directives of one section, by their names.
pub(crate) type Directives = BTreeMap<String, Value>;
/// The sections of one unit (`Unit`, `Service`, `Socket`, `Install`), by their names.
pub(crate) type Sections = BTreeMap<String, Directives>;

/// The table, read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// What every service starts from.
    pub(crate) base: Directives,
    /// The units of every appliance, by their file names.
    pub(crate) units: BTreeMap<String, Sections>,
    /// The unit of an agent that has a command.
    pub(crate) agent: Sections,
    /// What an agent with `egress` has instead.
    pub(crate) agent_egress: Sections,
    /// Groups and their members.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    /// Users and what they are for; each has a group of its own name.
    pub(crate) users: BTreeMap<String, String>,
    /// Directories of root's and their modes.
    pub(crate) directories: BTreeMap<String, String>,
}

/// A directive's value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A number.
    Number(i64),
    /// One text; an empty one takes back what was said before (systemd.syntax(7)).
    Text(String),
    /// The directive again and again; none leaves it out.
    List(Vec<String>),
}

/// The table cannot be read: a fault of this program, which carries it.
#[derive(Debug, thiserror::Error)]
#[error("nixos-module/units.toml: {0}")]
pub struct TableError(#[from] toml::de::Error);

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    ///
    /// [`TableError`] with line and column.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        Ok(toml::from_str(text)?)
    }
}

impl Value {
    /// The values as they stand behind the directive's name, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Switch(on) => vec![on.to_string()],
            Self::Number(number) => vec![number.to_string()],
            Self::Text(text) => vec![text.clone()],
            Self::List(items) => items.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key's line: `Name = …` or `"name" = …` at the beginning.
    fn key(line: &str) -> Option<&str> {
        let (key, _) = line.split_once(" = ")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "\"/-_".contains(c);
        key.chars().all(plain).then_some(key)
    }

    /// Directives whose value explains itself; a comment is optional.
    const PLAIN: [&str; 6] = [
        "Description",
        "Group",
        "RuntimeDirectoryMode",
        "SocketMode",
        "StateDirectoryMode",
        "WantedBy",
    ];

    #[test]
    fn the_table_can_be_read_and_a_misspelt_part_is_an_error() {
        let table = Table::parse(TABLE).unwrap();
        assert!(table.units.contains_key("ephyr-signer.service"));
        let wrong = TABLE.replace("[agent_egress.", "[agent_outgoing.");
        assert!(Table::parse(&wrong).is_err());
    }

    #[test]
    fn every_directive_says_why_it_is_there() {
        let mut before = "";
        for line in TABLE.lines() {
            if let Some(key) = key(line).filter(|key| !PLAIN.contains(key)) {
                assert!(before.starts_with("# "), "{key} has no comment: {line}");
            }
            before = line;
        }
    }

    #[test]
    fn every_exception_from_the_base_is_named_as_one() {
        let base = Table::parse(TABLE).unwrap().base;
        let (mut in_base, mut comment, mut exceptions) = (true, String::new(), 0);
        for line in TABLE.lines() {
            if line.starts_with('[') {
                in_base = line == "[base]";
            }
            if let Some(text) = line.strip_prefix('#') {
                comment.push_str(text);
                continue;
            }
            if let Some(key) = key(line).filter(|_| !in_base) {
                let named = comment.contains("Not as in the base:");
                assert_eq!(named, base.contains_key(key), "{key}:{comment}");
                exceptions += u32::from(named);
            }
            comment.clear();
        }
        assert!(exceptions > 0);
    }

    #[test]
    fn no_unit_lies_about_who_its_peer_is() {
        let directive = |line: &str| line.starts_with("PrivateUsers");
        assert!(!TABLE.lines().any(directive));
    }

    #[test]
    fn values_are_written_as_systemd_reads_them() {
        assert_eq!(Value::Switch(true).lines(), ["true"]);
        assert_eq!(Value::Number(0).lines(), ["0"]);
        assert_eq!(Value::Text(String::new()).lines(), [""]);
        assert_eq!(
            Value::List(vec!["a".into(), "~b".into()]).lines(),
            ["a", "~b"]
        );
        assert!(Value::List(Vec::new()).lines().is_empty());
    }
}
