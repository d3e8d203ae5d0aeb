//! What may be skipped: `docs/verification.md` lists it, with a line `- SKIP what: why` each. Anything else that is
//! skipped is a failure, so that nothing stops being checked unnoticed.

use std::fs;

use crate::run;
use crate::tally::Tally;

const LIST: &str = "docs/verification.md";

/// The skips that are accounted for.
pub(crate) struct Listed(Vec<String>);

impl Listed {
    /// Reads the list; where there is none, nothing may be skipped.
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(run::root().join(LIST));
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let entries = text.lines().filter_map(|line| line.strip_prefix("- SKIP "));
        Self(entries.filter_map(what).map(str::to_owned).collect())
    }

    /// Tells that something is skipped and counts it, as a failure too where it is not listed.
    pub(crate) fn tell(&self, line: &str) -> Tally {
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
        let skipped = line.strip_prefix("SKIP ").and_then(what);
        skipped.is_some_and(|skipped| self.0.iter().any(|listed| listed == skipped))
    }
}

/// What stands before the reason. A test's name has colons in pairs and no space.
fn what(entry: &str) -> Option<&str> {
    entry.split_once(": ").map(|(what, _)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_with_its_reason_may_be_skipped() {
        let listed =
            Listed::parse("text\n- SKIP sdk: no network\n- SKIP a::b: root\n- SKIP bare\n");
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
    fn the_list_has_no_stage_that_there_is_not() {
        let listed = Listed::read();
        assert!(!listed.0.is_empty());
        assert!(listed.has("SKIP advisories: x"));
    }
}
