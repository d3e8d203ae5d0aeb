//! Writing JSON into a byte buffer by concatenation: replies are put together from parts that were
//! serialised before.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::PrettyFormatter;

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

/// Appends a JSON string that holds `value` as JSON indented by two spaces.
pub(crate) fn push_pretty_text<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
) -> serde_json::Result<()> {
    out.push(b'"');
    let formatter = PrettyFormatter::new();
    let mut serializer = serde_json::Serializer::with_formatter(Escaping(&mut *out), formatter);
    value.serialize(&mut serializer)?;
    out.push(b'"');
    Ok(())
}

struct Escaping<'a>(&'a mut Vec<u8>);

impl Write for Escaping<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        push_escaped(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
            let value = serde_json::json!({ "list": keys, "number": 1 });
            let mut out = Vec::new();
            push_pretty_text(&mut out, &value).unwrap();
            let text: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string_pretty(&value).unwrap());
        }
    }
}
