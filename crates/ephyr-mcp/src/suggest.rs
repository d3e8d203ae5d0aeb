//! Suggestions for misspelt names in error messages.

/// Maximum length of compared names, in bytes: the cost grows with the product of the lengths.
const MAX_COMPARED: usize = 64;

/// Returns the candidate closest to `given`, if at most a third of its letters differ.
pub(crate) fn closest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if given.is_empty() || given.len() > MAX_COMPARED {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_COMPARED)
        .map(|candidate| (distance(given, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (given.len().max(candidate.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the edit distance of two texts, ignoring case: insertions, deletions, replacements and
/// transpositions (optimal string alignment).
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

/// Returns `text` in quotes, truncated to 64 characters, with control characters escaped: safe to show in
/// a terminal or to a model.
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
    fn misspelt_name_is_matched_and_unrelated_name_is_not() {
        let known = ["target", "role", "command", "timeout"];
        assert_eq!(closest("rol", known), Some("role"));
        assert_eq!(closest("comamnd", known), Some("command"));
        assert_eq!(closest("TimeOut", known), Some("timeout"));
        assert_eq!(closest("hostname", known), None);
        assert_eq!(closest("", known), None);
        assert_eq!(closest(&"r".repeat(100_000), known), None);
    }

    #[test]
    fn quoted_name_is_truncated_and_escaped() {
        assert_eq!(quoted("a\u{1b}[31m\"b"), "\"a\\u{1b}[31m\\\"b\"");
        assert!(quoted(&"x".repeat(10_000)).len() < 80);
    }
}
