//! The closest known name to one that is not known, for error messages.

/// Names longer than this are not compared: the cost grows with the product of the lengths.
const COMPARED: usize = 64;

/// The candidate nearest to `given`, if near enough to be a slip of the pen: at most a third of its
/// letters away.
pub(crate) fn closest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if given.is_empty() || given.len() > COMPARED {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= COMPARED)
        .map(|candidate| (distance(given, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (given.len().max(candidate.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two texts: insertions, deletions, replacements and swaps of neighbours. Letters of
/// differing case count as equal.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<u8> = a.bytes().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<u8> = b.bytes().map(|c| c.to_ascii_lowercase()).collect();
    let mut two_back: Vec<usize> = vec![0; b.len() + 1];
    let mut back: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let replaced = back[j] + usize::from(a[i] != b[j]);
            row[j + 1] = replaced.min(back[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(two_back[j - 1] + 1);
            }
        }
        two_back = back;
        back = row;
    }
    back[b.len()]
}

/// `text` in quotes, shortened to 64 characters, with control characters escaped: safe to put into a
/// message that a terminal or a model will read.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_finds_none() {
        let known = ["target", "role", "command", "timeout"];
        assert_eq!(closest("rol", known), Some("role"));
        assert_eq!(closest("comamnd", known), Some("command"));
        assert_eq!(closest("TimeOut", known), Some("timeout"));
        assert_eq!(closest("hostname", known), None);
        assert_eq!(closest("", known), None);
        assert_eq!(closest(&"r".repeat(100_000), known), None);
    }

    #[test]
    fn a_quoted_name_is_short_and_harmless() {
        assert_eq!(quoted("a\u{1b}[31m\"b"), "\"a\\u{1b}[31m\\\"b\"");
        assert!(quoted(&"x".repeat(10_000)).len() < 80);
    }
}
