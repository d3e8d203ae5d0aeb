//! Untrusted text, bounded by its type: longer text is cut at a character boundary and keeps the length and SHA-256
//! of the original, so that it can still be compared with it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use ephyr_chain::{Shown, encoded_len, show_char};
use ephyr_names::Digest;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A text that takes at most `MAX` bytes in a line. Its JSON is a string, or, if it was cut or was not UTF-8, an object
/// `{"text": …, "bytes": …, "sha256": …}` with the length and hash of the original. No string content can imitate that
/// object.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const MAX: usize> {
    text: Box<str>,
    whole: Option<Whole>,
}

/// The length and hash of the original of a cut text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Whole {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

impl<const MAX: usize> Text<MAX> {
    /// Returns the text, cut if it is too long.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let kept = fitting(text, MAX);
        Self {
            text: kept.into(),
            whole: (kept.len() < text.len()).then(|| Whole::of(text.as_bytes())),
        }
    }

    /// Returns the bytes as text; invalid UTF-8 is replaced by U+FFFD.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let lossy = String::from_utf8_lossy(bytes);
        let mut text = Self::new(&lossy);
        text.whole = (text.text.as_bytes() != bytes).then(|| Whole::of(bytes));
        text
    }

    /// Returns the text that was kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the length and hash of the original, if the text differs from it.
    #[must_use]
    pub fn whole(&self) -> Option<Whole> {
        self.whole
    }
}

impl Whole {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            sha256: Digest(Sha256::digest(bytes).into()),
        }
    }
}

/// Returns the longest prefix of `text` that takes at most `max` bytes in a line.
fn fitting(text: &str, max: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += encoded_len(c);
        if used > max {
            return &text[..at];
        }
    }
    text
}

impl<const MAX: usize> From<&str> for Text<MAX> {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<const MAX: usize> From<&String> for Text<MAX> {
    fn from(text: &String) -> Self {
        Self::new(text)
    }
}

impl<const MAX: usize> From<String> for Text<MAX> {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

/// Human-readable: control characters are escaped, and a cut is marked.
impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Shown(&self.text), f)?;
        self.cut(f)
    }
}

/// Displays a text in quotes, so that no part of it can be mistaken for another field of the line.
pub(crate) struct QuotedText<'a, const MAX: usize>(pub(crate) &'a Text<MAX>);

impl<const MAX: usize> fmt::Display for QuotedText<'_, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.text.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            show_char(c, f)?;
        }
        f.write_char('"')?;
        self.0.cut(f)
    }
}

/// Displays a text as [`QuotedText`] does, but a single plain word without quotes.
pub(crate) struct FieldText<'a, const MAX: usize>(pub(crate) &'a Text<MAX>);

impl<const MAX: usize> fmt::Display for FieldText<'_, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@+,%".contains(c);
        if self.0.text.is_empty() || !self.0.text.chars().all(plain) {
            return fmt::Display::fmt(&QuotedText(self.0), f);
        }
        fmt::Display::fmt(self.0, f)
    }
}

impl<const MAX: usize> Text<MAX> {
    fn cut(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whole {
            Some(whole) => write!(f, "… [{} bytes, sha256 {}]", whole.bytes, whole.sha256),
            None => Ok(()),
        }
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({self})")
    }
}

impl<const MAX: usize> Serialize for Text<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(whole) = self.whole else {
            return serializer.serialize_str(&self.text);
        };
        let mut object = serializer.serialize_struct("Text", 3)?;
        object.serialize_field("text", &*self.text)?;
        object.serialize_field("bytes", &whole.bytes)?;
        object.serialize_field("sha256", &whole.sha256)?;
        object.end()
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor<const MAX: usize>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CutText {
    text: Box<str>,
    bytes: u64,
    sha256: Digest,
}

impl<'de, const MAX: usize> Visitor<'de> for TextVisitor<MAX> {
    type Value = Text<MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or an object with text, bytes and sha256")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text {
            text: text.into(),
            whole: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let cut = CutText::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Text {
            text: cut.text,
            whole: Some(Whole {
                bytes: cut.bytes,
                sha256: cut.sha256,
            }),
        })
    }
}

/// Additional named facts about an event: at most [`Detail::MAX_ENTRIES`] entries that together take at most
/// [`Detail::MAX_BYTES`]. Further entries are dropped and counted under `dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Detail {
    entries: BTreeMap<Box<str>, Text<1024>>,
    bytes: usize,
    dropped: u32,
}

impl Detail {
    /// Maximum number of entries.
    pub const MAX_ENTRIES: usize = 16;
    /// Maximum number of bytes that all keys and values take in a line.
    pub const MAX_BYTES: usize = 4096;
    const MAX_KEY: usize = 64;
    /// Bytes reserved for each entry's quotes, colon and comma, and the length and hash of a cut value.
    const FRAME: usize = 128;

    /// Adds an entry; a second one with the same name is dropped.
    pub fn insert(&mut self, key: &str, value: impl Into<Text<1024>>) {
        let (key, value) = (fitting(key, Self::MAX_KEY), value.into());
        let size = Self::size(key, &value);
        if self.entries.len() >= Self::MAX_ENTRIES
            || self.bytes + size > Self::MAX_BYTES
            || self.entries.contains_key(key)
            || key == Self::DROPPED
        {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.bytes += size;
        self.entries.insert(key.into(), value);
    }

    fn size(key: &str, value: &Text<1024>) -> usize {
        let chars = key.chars().chain(value.as_str().chars());
        chars.map(encoded_len).sum::<usize>() + Self::FRAME
    }

    /// Returns the value with this name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(Text::as_str)
    }

    /// Returns all entries, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Text<1024>)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// Returns the number of bytes that the entries take in a line.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of entries that did not fit.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Returns whether there are no entries and none was dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped == 0
    }

    const DROPPED: &str = "dropped";
}

impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let dropped =
            (self.dropped > 0).then(|| (Self::DROPPED, Text::new(&self.dropped.to_string())));
        let last = dropped.iter().map(|(key, value)| (*key, value));
        serializer.collect_map(self.iter().chain(last))
    }
}

impl<'de> Deserialize<'de> for Detail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DetailVisitor;
        impl<'de> Visitor<'de> for DetailVisitor {
            type Value = Detail;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose values are texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Detail, A::Error> {
                let mut detail = Detail::default();
                while let Some((key, value)) = map.next_entry::<Box<str>, Text<1024>>()? {
                    if &*key == Detail::DROPPED {
                        detail.dropped = value.as_str().parse().map_err(de::Error::custom)?;
                        continue;
                    }
                    detail.bytes += Detail::size(&key, &value);
                    if detail.entries.insert(key, value).is_some() {
                        return Err(de::Error::custom("duplicate name"));
                    }
                }
                Ok(detail)
            }
        }
        deserializer.deserialize_map(DetailVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &impl Serialize) -> String {
        let mut out = Vec::new();
        ephyr_chain::canonical(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn short_text_is_a_plain_string_and_round_trips() {
        let text = Text::<100>::new("uptime; echo \"<é>\"");
        assert_eq!(json(&text), r#""uptime; echo \"<é>\"""#);
        assert_eq!(
            serde_json::from_str::<Text<100>>(&json(&text)).unwrap(),
            text
        );
    }

    #[test]
    fn long_text_is_cut_between_characters_and_keeps_its_hash() {
        let original = "é".repeat(100);
        let text = Text::<101>::new(&original);
        assert_eq!(text.as_str(), "é".repeat(50));
        assert_eq!(
            text.whole(),
            Some(Whole {
                bytes: 200,
                sha256: Digest(Sha256::digest(&original).into())
            })
        );
        assert_eq!(
            serde_json::from_str::<Text<101>>(&json(&text)).unwrap(),
            text
        );
    }

    #[test]
    fn invalid_utf8_is_replaced_and_hashed_unchanged() {
        let text = Text::<100>::from_bytes(b"a\xff\xfeb");
        assert_eq!(text.as_str(), "a\u{fffd}\u{fffd}b");
        assert_eq!(
            text.whole().unwrap().sha256,
            Digest(Sha256::digest(b"a\xff\xfeb").into())
        );
        assert_eq!(Text::<100>::from_bytes(b"ab"), Text::new("ab"));
    }

    #[test]
    fn text_cannot_imitate_a_cut_text() {
        let cut = Text::<10>::new(&"x".repeat(20));
        let imitation = Text::<200>::new(&json(&cut));
        assert!(json(&imitation).starts_with('"'));
        assert!(imitation.whole().is_none());
    }

    #[test]
    fn details_stay_within_their_limit_and_count_dropped_entries() {
        let mut detail = Detail::default();
        for i in 0..40 {
            detail.insert(&format!("{i}{}", "k".repeat(500)), "\u{1}".repeat(5000));
        }
        assert!(json(&detail).len() <= Detail::MAX_BYTES + 64);
        assert!(detail.dropped() > 0);
        let read: Detail = serde_json::from_str(&json(&detail)).unwrap();
        assert_eq!(json(&read), json(&detail));
    }

    #[test]
    fn display_escapes_control_characters() {
        assert_eq!(
            Text::<50>::new("a\n\u{1b}[2J").to_string(),
            "a\\n\\u{1b}[2J"
        );
    }
}
