//! One line of a chained file. A line is compact JSON whose last field is `hash`:
//! SHA-256(hash of the previous line ‖ the line without `,"hash":"…"`). The other fields are up to the crate's users, so
//! the audit log and the signer's journal share this format.

use ephyr_names::Digest;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::encode::{self, MAX_LINE, Shown};

const HASH_KEY: &[u8] = br#","hash":""#;
/// Bytes of `,"hash":"<64 digits>"}`.
const SUFFIX: usize = HASH_KEY.len() + 64 + 2;

/// The reason why a line is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// The line does not end in `,"hash":"<64 lowercase hexadecimal digits>"}`.
    #[error("the line does not end in its hash: it was not written by the log's writer")]
    NoHash,
    /// The hash does not follow from this line and the previous one.
    #[error(
        "the hash does not follow from this line and the one before: something was changed, removed, \
         inserted or moved here"
    )]
    Mismatch,
    /// The line is longer than [`MAX_LINE`] allows.
    #[error("the line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// The file ends without the line's newline.
    #[error("the file ends within the line")]
    Unterminated,
    /// The line is not a record of the expected type.
    #[error("the line is not a record: {0}")]
    NotARecord(String),
}

/// The reason why a record cannot be written as a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The line would be longer than [`MAX_LINE`].
    #[error("the record takes {0} bytes, but a line has at most {MAX_LINE}")]
    TooLong(usize),
    /// The record's `Serialize` failed, or it is not an object with fields.
    #[error("the record cannot be encoded: {0}")]
    Encoding(String),
}

/// A record in canonical JSON: an object with at least one field, short enough for a line. It has no hash yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord(Vec<u8>);

impl EncodedRecord {
    /// Encodes a record.
    ///
    /// # Errors
    /// [`SealError`]: it is not an object with fields, or is too long for a line.
    pub fn new<T: Serialize + ?Sized>(record: &T) -> Result<Self, SealError> {
        let mut json = Vec::with_capacity(768);
        encode::canonical(record, &mut json).map_err(|e| SealError::Encoding(e.to_string()))?;
        if json.len() < 3 || !json.starts_with(b"{") || !json.ends_with(b"}") {
            return Err(SealError::Encoding(
                "it is not an object with fields".into(),
            ));
        }
        let length = json.len() + SUFFIX;
        if length > MAX_LINE {
            return Err(SealError::TooLong(length));
        }
        Ok(Self(json))
    }

    /// Returns the JSON.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends the line that follows `previous`, with its newline, to `out` and returns the line's hash.
    pub(crate) fn seal(&self, previous: Digest, out: &mut Vec<u8>) -> Digest {
        let hash = link(previous, self.open());
        self.write_line(hash, out);
        out.push(b'\n');
        hash
    }

    /// Returns the record's line with this hash, without its newline.
    #[must_use]
    pub fn line(&self, hash: Digest) -> Vec<u8> {
        let mut line = Vec::with_capacity(self.0.len() + SUFFIX);
        self.write_line(hash, &mut line);
        line
    }

    fn write_line(&self, hash: Digest, out: &mut Vec<u8>) {
        out.extend_from_slice(self.open());
        out.extend_from_slice(HASH_KEY);
        out.extend_from_slice(hash.encode(&mut [0; 64]).as_bytes());
        out.extend_from_slice(b"\"}");
    }

    /// Returns the JSON without its closing brace.
    fn open(&self) -> &[u8] {
        &self.0[..self.0.len() - 1]
    }
}

/// Returns the hash of the line whose record is `open` and a closing brace.
fn link(previous: Digest, open: &[u8]) -> Digest {
    let mut hasher = Sha256::new_with_prefix(previous.0);
    hasher.update(open);
    hasher.update(b"}");
    Digest(hasher.finalize().into())
}

/// A line, split into its record and its hash. The hash is not yet checked.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    text: &'a [u8],
    hash: Digest,
}

impl<'a> Line<'a> {
    /// Splits a line (without its newline).
    ///
    /// # Errors
    /// [`LineFault::NoHash`] or [`LineFault::TooLong`].
    pub fn split(text: &'a [u8]) -> Result<Self, LineFault> {
        if text.len() >= MAX_LINE {
            return Err(LineFault::TooLong);
        }
        let at = text.len().checked_sub(SUFFIX).ok_or(LineFault::NoHash)?;
        let digits = text[at..]
            .strip_prefix(HASH_KEY)
            .and_then(|rest| rest.strip_suffix(b"\"}"))
            .ok_or(LineFault::NoHash)?;
        let hash = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or(LineFault::NoHash)?;
        Ok(Self { text, hash })
    }

    /// Returns the line's hash field.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Returns the line as it is in the file.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Checks that the line's hash follows from `previous`.
    ///
    /// # Errors
    /// [`LineFault::Mismatch`].
    pub fn check(&self, previous: Digest) -> Result<(), LineFault> {
        if link(previous, &self.text[..self.text.len() - SUFFIX]) == self.hash {
            Ok(())
        } else {
            Err(LineFault::Mismatch)
        }
    }

    /// Parses the record.
    ///
    /// # Errors
    /// [`LineFault::NotARecord`] with the reason.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, LineFault> {
        let mut body = self.text[..self.text.len() - SUFFIX].to_vec();
        body.push(b'}');
        // The message quotes field names of the line, which an attacker may have written.
        serde_json::from_slice(&body)
            .map_err(|error| LineFault::NotARecord(Shown(&error.to_string()).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Body {
        a: String,
    }

    fn line(previous: Digest, text: &str) -> (String, Digest) {
        let mut out = Vec::new();
        let record = EncodedRecord::new(&Body { a: text.into() }).unwrap();
        let hash = record.seal(previous, &mut out);
        assert_eq!([&record.line(hash)[..], b"\n"].concat(), out);
        (String::from_utf8(out).unwrap(), hash)
    }

    #[test]
    fn line_is_the_record_with_its_hash_last() {
        let (text, hash) = line(Digest::ZERO, "x");
        assert_eq!(text, format!("{{\"a\":\"x\",\"hash\":\"{hash}\"}}\n"));
        let expected = Sha256::new_with_prefix([0; 32])
            .chain_update(br#"{"a":"x"}"#)
            .finalize();
        assert_eq!(hash, Digest(expected.into()));
        let split = Line::split(text.trim_end().as_bytes()).unwrap();
        assert_eq!(split.check(Digest::ZERO), Ok(()));
        assert_eq!(split.check(hash), Err(LineFault::Mismatch));
        assert_eq!(split.parse::<Body>().unwrap(), Body { a: "x".into() });
    }

    #[test]
    fn non_objects_and_too_long_records_are_rejected() {
        assert!(matches!(
            EncodedRecord::new("x"),
            Err(SealError::Encoding(_))
        ));
        let empty = std::collections::BTreeMap::<String, u8>::new();
        assert!(matches!(
            EncodedRecord::new(&empty),
            Err(SealError::Encoding(_))
        ));
        let longest = MAX_LINE - SUFFIX - br#"{"a":""}"#.len();
        assert!(
            EncodedRecord::new(&Body {
                a: "x".repeat(longest)
            })
            .is_ok()
        );
        let mut line = Vec::new();
        let body = EncodedRecord::new(&Body {
            a: "x".repeat(longest),
        });
        body.unwrap().seal(Digest::ZERO, &mut line);
        assert_eq!(line.len(), MAX_LINE);
        assert!(Line::split(&line[..line.len() - 1]).is_ok());
        line.insert(8, b'x');
        assert_eq!(
            Line::split(&line[..MAX_LINE]).unwrap_err(),
            LineFault::TooLong
        );
        let longer = Body {
            a: "x".repeat(longest + 1),
        };
        assert_eq!(
            EncodedRecord::new(&longer),
            Err(SealError::TooLong(MAX_LINE + 1))
        );
    }
}
