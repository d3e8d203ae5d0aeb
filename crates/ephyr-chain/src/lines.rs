//! Reads the lines of a chained file.

use std::io::{self, BufRead};

use crate::encode::MAX_LINE;

/// Reads a chained file line by line in bounded memory.
pub struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    /// Bytes of the lines read so far, newlines included.
    offset: u64,
}

/// The next part of a file.
pub enum NextLine<'a> {
    /// A line, without its newline.
    Line(&'a [u8]),
    /// A line longer than [`MAX_LINE`], or the start of one.
    TooLong,
    /// The file's last bytes, without a newline: what a crash or a concurrent writer leaves.
    Torn,
    /// The end of the file.
    End,
}

impl<R: BufRead> Lines<R> {
    /// Starts at the reader's current position.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::with_capacity(1024),
            offset: 0,
        }
    }

    /// Returns the number of bytes of all complete lines read so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next line.
    ///
    /// # Errors
    /// The reader's error.
    pub fn read_next(&mut self) -> io::Result<NextLine<'_>> {
        self.line.clear();
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if available.is_empty() {
                return Ok(if self.line.is_empty() {
                    NextLine::End
                } else {
                    NextLine::Torn
                });
            }
            let end = available.iter().position(|b| *b == b'\n');
            let taken = end.unwrap_or(available.len());
            let capacity = MAX_LINE.saturating_sub(self.line.len());
            self.line
                .extend_from_slice(&available[..taken.min(capacity)]);
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                self.offset += (self.line.len() + 1) as u64;
                return Ok(NextLine::Line(&self.line));
            }
            if self.line.len() >= MAX_LINE {
                return self.too_long();
            }
        }
    }

    /// Classifies a line without a newline within [`MAX_LINE`]: torn if the file ends without a newline, else too long.
    fn too_long(&mut self) -> io::Result<NextLine<'_>> {
        loop {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                return Ok(NextLine::Torn);
            }
            if available.contains(&b'\n') {
                return Ok(NextLine::TooLong);
            }
            let all = available.len();
            self.reader.consume(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_use_bounded_memory_and_torn_differs_from_too_long() {
        let endless = "x".repeat(5 * MAX_LINE);
        let mut lines = Lines::new(io::BufReader::with_capacity(100, endless.as_bytes()));
        assert!(matches!(lines.read_next().unwrap(), NextLine::Torn));
        assert!(lines.line.capacity() <= 2 * MAX_LINE);
        let long = endless.clone() + "\n";
        let mut lines = Lines::new(io::BufReader::with_capacity(100, long.as_bytes()));
        assert!(matches!(lines.read_next().unwrap(), NextLine::TooLong));
        let mut lines = Lines::new(&b"ab\n\ncd"[..]);
        assert!(matches!(lines.read_next().unwrap(), NextLine::Line(b"ab")));
        assert!(matches!(lines.read_next().unwrap(), NextLine::Line(b"")));
        assert!(matches!(lines.read_next().unwrap(), NextLine::Torn));
        assert_eq!(lines.offset(), 4);
    }
}
