//! Text of foreign origin, bounded by its type: what is too long is cut on a character's border and
//! carries the length and SHA-256 of the whole, so that it can still be compared with an original.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use ephyr_chain::{Shown, encoded_len, show_char};
use ephyr_names::Digest;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A text that takes at most `MAX` bytes in a line. In JSON a string; where it was cut, or was not
/// UTF-8, an object `{"text": …, "bytes": …, "sha256": …}` with length and hash of the original, which
/// no content of a string can imitate.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const MAX: usize> {
    text: Box<str>,
    whole: Option<Whole>,
}

/// Of what a cut text was a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Whole {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

impl<const MAX: usize> Text<MAX> {
    /// Takes a text, cut where it is too long.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let kept = fitting(text, MAX);
        Self {
            text: kept.into(),
            whole: (kept.len() < text.len()).then(|| Whole::of(text.as_bytes())),
        }
    }

    /// Takes bytes; what is not UTF-8 in them is replaced by U+FFFD.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let lossy = String::from_utf8_lossy(bytes);
        let mut text = Self::new(&lossy);
        text.whole = (text.text.as_bytes() != bytes).then(|| Whole::of(bytes));
        text
    }

    /// The text that was kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Length and hash of the original, where this is not all of it.
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

/// The longest start of `text` that takes at most `max` bytes in a line.
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

/// For people: control characters escaped, a cut marked.
impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Shown(&self.text), f)?;
        self.cut(f)
    }
}

/// A text within a line for people: in quotes, so that no part of it can be taken for another fact of the line.
pub(crate) struct Quoted<'a, const MAX: usize>(pub(crate) &'a Text<MAX>);

impl<const MAX: usize> fmt::Display for Quoted<'_, MAX> {
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

/// The same, without quotes where it is one word that needs none.
pub(crate) struct Fact<'a, const MAX: usize>(pub(crate) &'a Text<MAX>);

impl<const MAX: usize> fmt::Display for Fact<'_, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@+,%".contains(c);
        if self.0.text.is_empty() || !self.0.text.chars().all(plain) {
            return fmt::Display::fmt(&Quoted(self.0), f);
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
struct Cut {
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
        let cut = Cut::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Text {
            text: cut.text,
            whole: Some(Whole {
                bytes: cut.bytes,
                sha256: cut.sha256,
            }),
        })
    }
}

/// Further facts about an event, name by name. Bounded: at most [`Detail::MAX_ENTRIES`] entries that
/// together take at most [`Detail::MAX_BYTES`]; what no longer fits is counted under `dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Detail {
    entries: BTreeMap<Box<str>, Text<1024>>,
    bytes: usize,
    dropped: u32,
}

impl Detail {
    /// Entries at most.
    pub const MAX_ENTRIES: usize = 16;
    /// Bytes at most that keys and values take in a line.
    pub const MAX_BYTES: usize = 4096;
    const MAX_KEY: usize = 64;
    // Quotes, colon, comma and, where the value was cut, its length and hash.
    const FRAME: usize = 128;

    /// Adds an entry; a second one of the same name is dropped.
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

    /// The value under a name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(Text::as_str)
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Text<1024>)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// Bytes that it takes in a line.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries did not fit.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Whether nothing stands here.
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
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Detail;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
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
                        return Err(de::Error::custom("a name stands twice"));
                    }
                }
                Ok(detail)
            }
        }
        deserializer.deserialize_map(Entries)
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
    fn short_text_is_a_plain_string_and_goes_round() {
        let text = Text::<100>::new("uptime; echo \"<é>\"");
        assert_eq!(json(&text), r#""uptime; echo \"<é>\"""#);
        assert_eq!(
            serde_json::from_str::<Text<100>>(&json(&text)).unwrap(),
            text
        );
    }

    #[test]
    fn long_text_is_cut_between_characters_and_keeps_the_hash_of_the_whole() {
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
    fn bytes_that_are_no_text_are_replaced_and_hashed_as_they_were() {
        let text = Text::<100>::from_bytes(b"a\xff\xfeb");
        assert_eq!(text.as_str(), "a\u{fffd}\u{fffd}b");
        assert_eq!(
            text.whole().unwrap().sha256,
            Digest(Sha256::digest(b"a\xff\xfeb").into())
        );
        assert_eq!(Text::<100>::from_bytes(b"ab"), Text::new("ab"));
    }

    #[test]
    fn a_text_cannot_imitate_the_mark_of_a_cut_one() {
        let cut = Text::<10>::new(&"x".repeat(20));
        let imitation = Text::<200>::new(&json(&cut));
        assert!(json(&imitation).starts_with('"'));
        assert!(imitation.whole().is_none());
    }

    #[test]
    fn details_never_outgrow_their_bound_and_count_what_was_dropped() {
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
    fn for_people_control_characters_are_visible() {
        assert_eq!(
            Text::<50>::new("a\n\u{1b}[2J").to_string(),
            "a\\n\\u{1b}[2J"
        );
    }
}
