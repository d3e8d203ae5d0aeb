//! Names from the policy. No name contains a separator of caveats, key ids, principals or paths (`,`
//! `:` `+` `[` `]` `@` `/` space), so names are never escaped.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("{kind} must not be empty")]
    Empty {
        /// The kind of name, such as `agent name`.
        kind: &'static str,
    },
    /// The text is longer than the kind allows.
    #[error("{kind} has {len} bytes; the maximum is {max}")]
    TooLong {
        /// The kind of name, such as `agent name`.
        kind: &'static str,
        /// The actual length in bytes.
        len: usize,
        /// The maximum length in bytes.
        max: usize,
    },
    /// The kind does not allow a character at its position.
    #[error("{kind} has {found:?} at position {at}; {rule}")]
    BadCharacter {
        /// The kind of name, such as `agent name`.
        kind: &'static str,
        /// The offending character.
        found: char,
        /// Its byte offset.
        at: usize,
        /// The characters that are allowed.
        rule: &'static str,
    },
}

struct Rule {
    kind: &'static str,
    max: usize,
    text: &'static str,
    first: fn(u8) -> bool,
    rest: fn(u8) -> bool,
}

fn check(text: &str, rule: &Rule) -> Result<(), NameError> {
    let kind = rule.kind;
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > rule.max {
        return Err(NameError::TooLong {
            kind,
            len: text.len(),
            max: rule.max,
        });
    }
    for (at, found) in text.char_indices() {
        let allowed = u8::try_from(found)
            .ok()
            .filter(u8::is_ascii)
            .is_some_and(|b| {
                if at == 0 {
                    (rule.first)(b)
                } else {
                    (rule.rest)(b)
                }
            });
        if !allowed {
            return Err(NameError::BadCharacter {
                kind,
                found,
                at,
                rule: rule.text,
            });
        }
    }
    Ok(())
}

const GENERAL: &str = "use letters, digits, '.', '_' and '-', starting with a letter or digit";

fn general_first(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn general_rest(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal, $text:expr, $first:expr, $rest:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            const RULE: Rule =
                Rule { kind: $kind, max: $max, text: $text, first: $first, rest: $rest };

            /// Validates a text as a name.
            ///
            /// # Errors
            /// [`NameError`] names the invalid character or length.
            pub fn new(text: impl Into<Box<str>>) -> Result<Self, NameError> {
                let text = text.into();
                check(&text, &Self::RULE)?;
                Ok(Self(text))
            }

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        // Ordering and hashing are those of the text, so maps can be looked up by `&str`.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// An agent: a configured AI identity.
    AgentName, "agent name", 63, GENERAL, general_first, general_rest
);
name!(
    /// A target: an SSH host.
    TargetName, "target name", 63, GENERAL, general_first, general_rest
);
name!(
    /// A role of an agent on a target.
    RoleName, "role name", 63, GENERAL, general_first, general_rest
);
name!(
    /// An HTTP service behind the proxy.
    ServiceName, "service name", 63, GENERAL, general_first, general_rest
);
name!(
    /// A remote MCP server. The name has no dot, because tools are addressed as `remote.tool`.
    RemoteName, "remote name", 50, "use letters, digits and '-', starting with a letter or digit",
    general_first, |b| b.is_ascii_alphanumeric() || b == b'-'
);
name!(
    /// A tool of a remote MCP server.
    ToolName, "tool name", 128, "use letters, digits, '.', '_' and '-'",
    |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'), general_rest
);
name!(
    /// An HTTP method in upper case (RFC 9110 section 9).
    Method, "HTTP method", 16, "use uppercase letters", |b| b.is_ascii_uppercase(),
    |b| b.is_ascii_uppercase()
);
name!(
    /// A Unix account on a target, as `useradd` accepts it.
    Account, "account name", 32,
    "use lowercase letters, digits, '_' and '-', starting with a lowercase letter or '_'",
    |b| b.is_ascii_lowercase() || b == b'_',
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-')
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names_are_accepted_unchanged() {
        for text in ["web", "web-1.example", "A_b", "0x"] {
            assert_eq!(TargetName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn separators_of_caveats_key_ids_and_paths_are_refused() {
        for bad in [",", ":", "+", "[", "]", "@", "/", " ", "\n", "\0", "*", "é"] {
            let text = format!("a{bad}b");
            assert!(AgentName::new(text.clone()).is_err(), "{text:?}");
            assert!(RoleName::new(text.clone()).is_err(), "{text:?}");
            assert!(ToolName::new(text.clone()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn error_states_position_and_rule() {
        let error = Account::new("Root").unwrap_err();
        assert_eq!(
            error.to_string(),
            "account name has 'R' at position 0; use lowercase letters, digits, '_' and '-', \
             starting with a lowercase letter or '_'"
        );
    }

    #[test]
    fn empty_and_overlong_names_are_refused() {
        assert!(AgentName::new("a".repeat(63)).is_ok());
        assert!(AgentName::new("a".repeat(64)).is_err());
        assert_eq!(
            AgentName::new("").unwrap_err(),
            NameError::Empty { kind: "agent name" }
        );
    }

    #[test]
    fn remote_names_contain_no_dot() {
        assert!(RemoteName::new("dev.tools").is_err());
        assert!(RemoteName::new("dev-tools").is_ok());
    }
}
