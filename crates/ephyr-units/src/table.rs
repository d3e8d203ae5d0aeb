//! The table of units.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The text of `nixos-module/units.toml`.
pub const TABLE: &str = include_str!("../../../nixos-module/units.toml");

/// The directives of one section, by their names.
pub(crate) type Directives = BTreeMap<String, Value>;
/// The sections of one unit (`Unit`, `Service`, `Socket`, `Install`), by their names.
pub(crate) type Sections = BTreeMap<String, Directives>;

/// The parsed table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The directives of every service, unless it overrides them.
    pub(crate) base: Directives,
    /// The units of every appliance, by their file names.
    pub(crate) units: BTreeMap<String, Sections>,
    /// The unit of an agent that has a command.
    pub(crate) agent: Sections,
    /// The directives that an agent with `egress` has instead.
    pub(crate) agent_egress: Sections,
    /// Groups and their members.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    /// Users and their purposes; each has a group of the same name.
    pub(crate) users: BTreeMap<String, String>,
    /// Directories owned by root, and their modes.
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
    /// One text; an empty one resets the directive (systemd.syntax(7)).
    Text(String),
    /// One directive per item; omitted if empty.
    List(Vec<String>),
}

/// The error for a table that cannot be parsed. The table is compiled in, so this is a bug.
#[derive(Debug, thiserror::Error)]
#[error("nixos-module/units.toml: {0}")]
pub struct TableError(#[from] toml::de::Error);

impl Table {
    /// Parses a table.
    ///
    /// # Errors
    /// [`TableError`] with line and column.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        Ok(toml::from_str(text)?)
    }
}

impl Value {
    /// Returns the values, one for each line `Name=value`.
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

    /// Returns the key of a line that begins with `Name = …` or `"name" = …`.
    fn key(line: &str) -> Option<&str> {
        let (key, _) = line.split_once(" = ")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "\"/-_".contains(c);
        key.chars().all(plain).then_some(key)
    }

    /// Directives that need no comment.
    const PLAIN: [&str; 6] = [
        "Description",
        "Group",
        "RuntimeDirectoryMode",
        "SocketMode",
        "StateDirectoryMode",
        "WantedBy",
    ];

    #[test]
    fn table_is_valid_and_unknown_sections_are_errors() {
        let table = Table::parse(TABLE).unwrap();
        assert!(table.units.contains_key("ephyr-signer.service"));
        let wrong = TABLE.replace("[agent_egress.", "[agent_outgoing.");
        assert!(Table::parse(&wrong).is_err());
    }

    #[test]
    fn every_directive_has_a_comment() {
        let mut before = "";
        for line in TABLE.lines() {
            if let Some(key) = key(line).filter(|key| !PLAIN.contains(key)) {
                assert!(before.starts_with("# "), "{key} has no comment: {line}");
            }
            before = line;
        }
    }

    #[test]
    fn exceptions_from_the_base_are_marked_in_comments() {
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
    fn no_unit_uses_private_users() {
        // In a user namespace of its own, a daemon would see its peers' UIDs as nobody.
        let directive = |line: &str| line.starts_with("PrivateUsers");
        assert!(!TABLE.lines().any(directive));
    }

    #[test]
    fn values_are_rendered_in_systemd_syntax() {
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
