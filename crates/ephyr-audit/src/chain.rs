//! The hash chain over lines, and reading it. A line is compact JSON whose last field is `hash`:
//! SHA-256(hash of the line before ‖ the line without `,"hash":"…"`). Nothing here knows what else
//! stands in a line, so the broker's log and the signer's journal share it.

use std::io::{self, BufRead};

use ephyr_names::Digest;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::encode::{self, MAX_LINE, Shown};

const HASH_KEY: &[u8] = br#","hash":""#;
/// Bytes of `,"hash":"<64 digits>"}`.
const SUFFIX: usize = HASH_KEY.len() + 64 + 2;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// It does not end in `,"hash":"<64 small hexadecimal digits>"}`.
    #[error("the line does not end in its hash: it was not written by the log's writer")]
    NoHash,
    /// The hash is not that of this line after the one before.
    #[error(
        "the hash does not follow from this line and the one before: something was changed, removed, \
         inserted or moved here"
    )]
    Mismatch,
    /// Longer than any line that is written.
    #[error("the line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// The text ends within a line.
    #[error("the file ends within the line")]
    Unterminated,
    /// It is not a record.
    #[error("the line is not a record: {0}")]
    NotARecord(String),
}

/// What cannot be made a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It would be too long.
    #[error("the record takes {0} bytes, more than the {MAX_LINE} of a line")]
    TooLong(usize),
    /// Its own encoding failed, or it has no fields.
    #[error("the record cannot be encoded: {0}")]
    Encoding(String),
}

/// Encodes a record as the chain takes it: canonical JSON, an object of at least one field, short
/// enough for a line.
///
/// # Errors
/// [`SealError`] if it is not that.
pub(crate) fn encode_body<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, SealError> {
    let mut body = Vec::with_capacity(768);
    encode::canonical(value, &mut body).map_err(|e| SealError::Encoding(e.to_string()))?;
    check_body(&body)?;
    Ok(body)
}

fn check_body(body: &[u8]) -> Result<(), SealError> {
    let length = body.len() + SUFFIX;
    if body.len() < 3 || !body.starts_with(b"{") || !body.ends_with(b"}") {
        return Err(SealError::Encoding("it is no object with fields".into()));
    }
    if length > MAX_LINE {
        return Err(SealError::TooLong(length));
    }
    Ok(())
}

/// Appends the line of `body` to `out` and gives its hash.
pub(crate) fn seal(previous: Digest, body: &[u8], out: &mut Vec<u8>) -> Digest {
    let open = &body[..body.len() - 1];
    let hash = link(previous, open);
    out.extend_from_slice(open);
    out.extend_from_slice(HASH_KEY);
    out.extend_from_slice(hash.encode(&mut [0; 64]).as_bytes());
    out.extend_from_slice(b"\"}\n");
    hash
}

/// The hash of the body that is `open` and a closing brace.
fn link(previous: Digest, open: &[u8]) -> Digest {
    let mut hasher = Sha256::new_with_prefix(previous.0);
    hasher.update(open);
    hasher.update(b"}");
    Digest(hasher.finalize().into())
}

/// A line, split into its record and its hash; whether the hash is right is still open.
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

    /// The hash that the line carries.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The line as it stands in the file.
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

    /// Reads the record.
    ///
    /// # Errors
    /// [`LineFault::NotARecord`] says what is wrong with it.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, LineFault> {
        let mut body = self.text[..self.text.len() - SUFFIX].to_vec();
        body.push(b'}');
        // The message quotes names of the line, and the line may be anybody's.
        serde_json::from_slice(&body)
            .map_err(|error| LineFault::NotARecord(Shown(&error.to_string()).to_string()))
    }
}

/// Reads a file line by line in bounded memory.
pub(crate) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    /// Bytes of the lines read so far, newlines included.
    offset: u64,
}

/// What stands next in a file.
pub(crate) enum Next<'a> {
    /// A line, without its newline.
    Line(&'a [u8]),
    /// A line longer than any that is written, or its start.
    TooLong,
    /// The file's last bytes, without a newline.
    Torn,
    /// Nothing.
    End,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::with_capacity(1024),
            offset: 0,
        }
    }

    /// Bytes of all whole lines read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn next(&mut self) -> io::Result<Next<'_>> {
        self.line.clear();
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if available.is_empty() {
                return Ok(if self.line.is_empty() {
                    Next::End
                } else {
                    Next::Torn
                });
            }
            let end = available.iter().position(|b| *b == b'\n');
            let taken = end.unwrap_or(available.len());
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&available[..taken.min(room)]);
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                self.offset += (self.line.len() + 1) as u64;
                return Ok(Next::Line(&self.line));
            }
            if self.line.len() >= MAX_LINE {
                return self.too_long();
            }
        }
    }

    /// A line without an end within its greatest length: torn if the file ends there too.
    fn too_long(&mut self) -> io::Result<Next<'_>> {
        loop {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                return Ok(Next::Torn);
            }
            if available.contains(&b'\n') {
                return Ok(Next::TooLong);
            }
            let all = available.len();
            self.reader.consume(all);
        }
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
        let body = encode_body(&Body { a: text.into() }).unwrap();
        let hash = seal(previous, &body, &mut out);
        (String::from_utf8(out).unwrap(), hash)
    }

    #[test]
    fn a_line_is_the_body_with_its_hash_last() {
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
    fn what_is_no_object_or_too_long_makes_no_line() {
        assert!(matches!(encode_body("x"), Err(SealError::Encoding(_))));
        let empty = std::collections::BTreeMap::<String, u8>::new();
        assert!(matches!(encode_body(&empty), Err(SealError::Encoding(_))));
        let longest = MAX_LINE - SUFFIX - br#"{"a":""}"#.len();
        assert!(
            encode_body(&Body {
                a: "x".repeat(longest)
            })
            .is_ok()
        );
        let mut line = Vec::new();
        let body = encode_body(&Body {
            a: "x".repeat(longest),
        });
        seal(Digest::ZERO, &body.unwrap(), &mut line);
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
        assert_eq!(encode_body(&longer), Err(SealError::TooLong(MAX_LINE + 1)));
    }

    #[test]
    fn lines_are_read_in_bounded_memory_and_a_torn_end_is_told_from_a_long_line() {
        let endless = "x".repeat(5 * MAX_LINE);
        let mut lines = Lines::new(io::BufReader::with_capacity(100, endless.as_bytes()));
        assert!(matches!(lines.next().unwrap(), Next::Torn));
        assert!(lines.line.capacity() <= 2 * MAX_LINE);
        let long = endless.clone() + "\n";
        let mut lines = Lines::new(io::BufReader::with_capacity(100, long.as_bytes()));
        assert!(matches!(lines.next().unwrap(), Next::TooLong));
        let mut lines = Lines::new(&b"ab\n\ncd"[..]);
        assert!(matches!(lines.next().unwrap(), Next::Line(b"ab")));
        assert!(matches!(lines.next().unwrap(), Next::Line(b"")));
        assert!(matches!(lines.next().unwrap(), Next::Torn));
        assert_eq!(lines.offset(), 4);
    }
}
