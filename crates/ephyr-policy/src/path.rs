//! Key paths into the policy, such as `targets.web.allowed_roles[1]`.

use crate::text::shorten;

/// Returns the path with one more key; a key that is not a plain word is quoted.
pub(crate) fn join(path: &str, key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let dot = if path.is_empty() { "" } else { "." };
    if !key.is_empty() && key.bytes().all(plain) {
        format!("{path}{dot}{key}")
    } else {
        format!("{path}{dot}\"{}\"", shorten(key))
    }
}

/// Returns the path of a list's item.
pub(crate) fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
