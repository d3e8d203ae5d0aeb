//! The canonical encoding of a record: compact JSON with the fields in the struct's order, and with every character that
//! a terminal or text viewer would interpret written as an escape.

use std::fmt::{self, Write as _};
use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// Maximum length of a line in bytes, including its newline.
pub const MAX_LINE: usize = 16 * 1024;

/// Appends the canonical JSON of `value` to `out`.
///
/// # Errors
/// The error of the value's own `Serialize`.
pub fn canonical<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(out, Canonical))
}

/// Escapes more than JSON requires, which is only the characters below the space. Logs are also read with `tail -f`, so
/// the other control characters and those that reorder or hide text are escaped too.
struct Canonical;

impl Formatter for Canonical {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.bytes().all(|b| b < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut start = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_hidden(*c)) {
            writer.write_all(&fragment.as_bytes()[start..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            start = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[start..])
    }
}

/// Returns whether `c` is DEL, a C1 control, a zero-width character, a line separator, a bidirectional control or the byte
/// order mark.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}')
}

/// Displays untrusted text on a terminal: line breaks and characters that move the cursor, or hide or reorder text, are
/// escaped.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| show_char(c, f))
    }
}

/// Writes one character as [`Shown`] does.
///
/// # Errors
/// The formatter's error.
pub fn show_char(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match c {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        c if c.is_control() || is_hidden(c) => write!(f, "\\u{{{:x}}}", u32::from(c)),
        c => f.write_char(c),
    }
}

/// Returns the number of bytes that `c` takes in the canonical JSON.
#[must_use]
pub fn encoded_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' || is_hidden(c) => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> String {
        let mut out = Vec::new();
        canonical(text, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn characters_that_terminals_interpret_are_escaped() {
        assert_eq!(
            encode("a\u{1b}[31m\u{9b}1m\u{202e}é<b>&"),
            r#""a\u001b[31m\u009b1m\u202eé<b>&""#
        );
    }

    #[test]
    fn encoded_length_is_right_and_every_character_round_trips() {
        for c in (0..=0x11_0000).filter_map(char::from_u32) {
            let text = encode(c.encode_utf8(&mut [0; 4]));
            assert_eq!(text.len(), encoded_len(c) + 2, "{c:?}");
            assert_eq!(
                serde_json::from_str::<String>(&text).unwrap(),
                c.to_string()
            );
        }
    }
}
