//! The command policy of a role: an allow-list that shell syntax cannot bypass.
//!
//! A target runs `<login shell> -c <command>`, so a pattern must not match a text that the shell reads as anything
//! but one plain command. A pattern is either a whole command, compared byte for byte, or words followed by ` *`,
//! which stands for one or more further words. A command with a character that is special to a shell (quotes, `$`,
//! `;`, `~`, globs, line breaks, …) never matches a pattern with ` *`.

use ephyr_names::MAX_COMMAND_BYTES;

/// The commands that a role may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPolicy {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    /// These words, then at least one more.
    Words(Vec<String>),
}

impl CommandPolicy {
    /// Creates a policy of these patterns. Malformed patterns, which the checker has reported, match nothing.
    pub(crate) fn new<'a>(patterns: impl Iterator<Item = &'a str>) -> Self {
        Self {
            patterns: patterns.filter_map(|text| parse(text).ok()).collect(),
        }
    }

    /// Returns whether the command may be run.
    #[must_use]
    pub fn allows(&self, command: &str) -> bool {
        self.patterns.iter().any(|pattern| match pattern {
            Pattern::Exact(text) => text == command,
            Pattern::Words(prefix) => extends(prefix, command),
        })
    }

    /// Returns the patterns as they are written in the policy.
    pub fn patterns(&self) -> impl Iterator<Item = String> + '_ {
        self.patterns.iter().map(|pattern| match pattern {
            Pattern::Exact(text) => text.clone(),
            Pattern::Words(words) => format!("{} *", words.join(" ")),
        })
    }
}

/// Returns whether the command is these words and at least one more, all without shell syntax.
fn extends(prefix: &[String], command: &str) -> bool {
    if !command.bytes().all(is_plain) {
        return false;
    }
    let mut words = command.split(' ').filter(|word| !word.is_empty());
    prefix
        .iter()
        .all(|expected| words.next() == Some(expected.as_str()))
        && words.next().is_some()
}

/// Returns whether every POSIX shell takes the byte literally in any position.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b' ' | b'_' | b'-' | b'.' | b'/' | b':' | b'=' | b'@' | b'%' | b'+' | b','
        )
}

/// Checks the syntax of a pattern.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// Returns the words of a pattern with open arguments: the program and its first arguments.
pub(crate) fn open_words(text: &str) -> Option<Vec<&str>> {
    Some(text.strip_suffix(" *")?.split(' ').collect())
}

fn parse(text: &str) -> Result<Pattern, String> {
    if text == "*" {
        return Err("\"*\" would allow everything; remove `commands` if that is intended".into());
    }
    if text.trim() != text || text.is_empty() {
        return Err("a command must not be empty or begin or end with a space".into());
    }
    if text.len() > MAX_COMMAND_BYTES {
        return Err(format!("a command has at most {MAX_COMMAND_BYTES} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("a command must be one line without control characters".into());
    }
    let Some(prefix) = text.strip_suffix(" *") else {
        if let Some(found) = text.chars().find(|c| matches!(c, '*' | '?' | '[')) {
            return Err(format!(
                "`{found}` is not allowed in a command; only `*` as the last word is a pattern, for one or more \
                 further words"
            ));
        }
        return Ok(Pattern::Exact(text.to_owned()));
    };
    if let Some(found) = prefix
        .chars()
        .find(|c| !u8::try_from(*c).is_ok_and(is_plain))
    {
        return Err(format!(
            "`{found}` is special to a shell; before ` *` use letters, digits, spaces and _-./:=@%+,"
        ));
    }
    let words: Vec<String> = prefix.split(' ').map(str::to_owned).collect();
    if words.iter().any(String::is_empty) {
        return Err("write one space between words".into());
    }
    if words[0].contains('=') {
        return Err("the first word would be a variable assignment".into());
    }
    Ok(Pattern::Words(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(patterns: &[&str]) -> CommandPolicy {
        CommandPolicy::new(patterns.iter().copied())
    }

    #[test]
    fn whole_commands_are_compared_byte_for_byte() {
        let policy = policy(&["systemctl status 'my unit'"]);
        assert!(policy.allows("systemctl status 'my unit'"));
        assert!(!policy.allows("systemctl status 'my unit' "));
        assert!(!policy.allows("systemctl  status 'my unit'"));
        assert!(!policy.allows("systemctl status 'my unit'; id"));
    }

    #[test]
    fn star_matches_one_or_more_further_words() {
        let policy = policy(&["journalctl -u *"]);
        assert!(policy.allows("journalctl -u nginx"));
        assert!(policy.allows("journalctl  -u nginx --since 12:00"));
        assert!(!policy.allows("journalctl -u"));
        assert!(!policy.allows("journalctl -u "));
        assert!(!policy.allows("journalctl -unginx x"));
        assert!(!policy.allows("journalctl -f nginx"));
    }

    #[test]
    fn shell_metacharacters_never_match_a_pattern() {
        let policy = policy(&["cat *"]);
        assert!(policy.allows("cat /etc/hostname"));
        for found in [
            ";", "&", "|", "<", ">", "$", "`", "\\", "\"", "'", "(", ")", "{", "}", "[", "]", "*",
            "?", "~", "#", "!", "^", "\n", "\r", "\t", "\0", "\u{b}", "é", "\u{a0}", "\u{2028}",
        ] {
            for command in [
                format!("cat {found}id"),
                format!("cat x{found} id"),
                format!("{found}cat x"),
            ] {
                assert!(!policy.allows(&command), "{command:?}");
            }
        }
    }

    #[test]
    fn malformed_patterns_are_refused_and_match_nothing() {
        for bad in [
            "", "*", " ls", "ls ", "ls\nid", "ls *.gz", "ls ?", "ls [a]", "l$s *", "a  b *",
            "A=b c *", " *",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
            assert!(!policy(&[bad]).allows(bad), "{bad:?}");
        }
        let pattern = |length| "x".repeat(length);
        assert!(check(&pattern(MAX_COMMAND_BYTES)).is_ok());
        assert!(check(&pattern(MAX_COMMAND_BYTES + 1)).is_err());
    }
}
