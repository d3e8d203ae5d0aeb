//! The skips allowed by `docs/verification.md`, one line `- SKIP name: reason` each. Any other skip is a
//! failure, so that no check disappears unnoticed.

use std::fs;

use crate::run;
use crate::tally::Tally;

const LIST: &str = "docs/verification.md";

/// The names of the checks that may be skipped.
pub(crate) struct AllowedSkips(Vec<String>);

impl AllowedSkips {
    /// Reads the list; without it, nothing may be skipped.
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(run::root().join(LIST));
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let entries = text.lines().filter_map(|line| line.strip_prefix("- SKIP "));
        Self(entries.filter_map(name).map(str::to_owned).collect())
    }

    /// Prints the line of a skipped check and counts it, also as a failure if the skip is not allowed.
    pub(crate) fn report(&self, line: &str) -> Tally {
        run::say(line);
        if self.has(line) {
            return Tally::skip();
        }
        run::say(&format!(
            "FAIL {LIST} does not list that it may be skipped: {line}"
        ));
        let mut tally = Tally::skip();
        tally += Tally::one(false);
        tally
    }

    fn has(&self, line: &str) -> bool {
        let skipped = line.strip_prefix("SKIP ").and_then(name);
        skipped.is_some_and(|skipped| self.0.iter().any(|listed| listed == skipped))
    }
}

/// Returns the name before the reason. The colons in a test's path are not followed by a space.
fn name(entry: &str) -> Option<&str> {
    entry.split_once(": ").map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_skips_listed_with_a_reason_are_allowed() {
        let listed =
            AllowedSkips::parse("text\n- SKIP sdk: no network\n- SKIP a::b: root\n- SKIP bare\n");
        assert!(listed.has("SKIP sdk: the SDKs cannot be installed here"));
        assert!(listed.has("SKIP a::b: needs root"));
        for other in [
            "SKIP sd: x",
            "SKIP a::b::c: x",
            "SKIP bare",
            "SKIP bare: x",
            "sdk: x",
        ] {
            assert!(!listed.has(other), "{other}");
        }
    }

    #[test]
    fn list_in_the_documentation_is_read() {
        let listed = AllowedSkips::read();
        assert!(!listed.0.is_empty());
        assert!(listed.has("SKIP advisories: x"));
    }
}
