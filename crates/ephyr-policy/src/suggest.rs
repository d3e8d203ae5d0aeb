//! Suggestions for misspelt words: "did you mean …?"

/// Returns the candidate nearest to `word`, if it is near enough to be a typing error.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).min(3);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns `; did you mean …?` to append to a message; empty if no candidate is near.
pub(crate) fn hint<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// Returns the edit distance of two words, ignoring ASCII case: insertions, deletions, replacements and swaps of
/// adjacent characters (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    // The cost is quadratic, and keys and names are short.
    const LONGEST: usize = 64;
    let letters = |text: &str| -> Vec<char> {
        let lower = text.chars().map(|c| c.to_ascii_lowercase());
        lower.take(LONGEST + 1).collect()
    };
    let (a, b) = (letters(a), letters(b));
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_matched_and_other_words_are_not() {
        let keys = || ["allowed_roles", "max_ttl", "host", "host_key", "port"].into_iter();
        assert_eq!(nearest("allowed_role", keys()), Some("allowed_roles"));
        assert_eq!(nearest("max_tll", keys()), Some("max_ttl"));
        assert_eq!(nearest("hsot", keys()), Some("host"));
        assert_eq!(nearest("Host", keys()), Some("host"));
        assert_eq!(nearest("colour", keys()), None);
        assert_eq!(nearest(&"x".repeat(5000), keys()), None);
    }
}
