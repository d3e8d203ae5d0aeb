//! Writes JSON into a byte buffer. Responses are concatenated from parts that are already serialised.

use std::ops::Range;

use serde::Serialize;

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Appends `value` as compact JSON.
pub(crate) fn push_value<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
) -> serde_json::Result<()> {
    serde_json::to_writer(out, value)
}

/// Appends a JSON string with the compact JSON in the range `compact` of `out`, indented by two spaces.
///
/// One pass over the serialised bytes takes a third of the time of serialising the value again.
pub(crate) fn push_indented_text(out: &mut Vec<u8>, compact: Range<usize>) {
    let (mut at, end) = (compact.start, compact.end);
    let mut depth = 0_usize;
    out.push(b'"');
    while at < end {
        let byte = out[at];
        at += 1;
        match byte {
            b'"' => at = push_inner_string(out, at, end),
            b'{' | b'[' => {
                out.push(byte);
                if matches!(out[at..end].first(), Some(b'}' | b']')) {
                    out.push(out[at]);
                    at += 1;
                } else {
                    depth += 1;
                    push_line(out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                push_line(out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                push_line(out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            plain => out.push(plain),
        }
    }
    out.push(b'"');
}

/// Appends the string that starts at `at`, escaped once more, and returns the position behind it.
fn push_inner_string(out: &mut Vec<u8>, mut at: usize, end: usize) -> usize {
    out.extend_from_slice(b"\\\"");
    loop {
        let special = |byte: &u8| matches!(byte, b'"' | b'\\');
        let plain = out[at..end].iter().position(special).unwrap_or(end - at);
        out.extend_from_within(at..at + plain);
        at += plain;
        match out[at..end] {
            // Both characters of an escape sequence have to be escaped again.
            [b'\\', escaped, ..] => {
                out.extend_from_slice(b"\\\\");
                if special(&escaped) {
                    out.push(b'\\');
                }
                out.push(escaped);
                at += 2;
            }
            _ => break,
        }
    }
    out.extend_from_slice(b"\\\"");
    (at + 1).min(end)
}

/// Appends an escaped line break and the indentation of the next line.
fn push_line(out: &mut Vec<u8>, depth: usize) {
    const SPACES: [u8; 32] = [b' '; 32];
    out.extend_from_slice(b"\\n");
    let mut left = 2 * depth;
    while left > 0 {
        let now = left.min(SPACES.len());
        out.extend_from_slice(&SPACES[..now]);
        left -= now;
    }
}

fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn the_indented_text_holds_the_value(keys in proptest::collection::vec(any::<String>(), 0..5)) {
            let value = serde_json::json!({
                "list": keys, "number": -1.5e300, "": [], "none": {}, "deep": [[{"a": [null, true]}], [[]]],
            });
            let mut out = b"before".to_vec();
            push_value(&mut out, &value).unwrap();
            let compact = out.len();
            push_indented_text(&mut out, 6..compact);
            let text: String = serde_json::from_slice(&out[compact..]).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string_pretty(&value).unwrap());
        }
    }
}
