//! Reads lines of at most [`MAX_BODY`] bytes.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::limits::MAX_BODY;

/// A line of the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its line break.
    Text(Vec<u8>),
    /// A line over the limit, skipped to its end.
    TooLong,
}

/// Reads one line; `None` at the end of the input. A last line without line break counts.
/// Cancellation-safe: data already read stays in `partial`.
pub(crate) async fn next<R: AsyncBufRead + Unpin>(
    input: &mut R,
    partial: &mut PartialLine,
) -> io::Result<Option<Line>> {
    loop {
        let buffer = input.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(partial.is_begun().then(|| partial.take()));
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        partial.extend(&buffer[..end.unwrap_or(buffer.len())]);
        let used = end.map_or(buffer.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(Some(partial.take()));
        }
    }
}

/// An incomplete line.
#[derive(Debug, Default)]
pub(crate) struct PartialLine {
    text: Vec<u8>,
    too_long: bool,
}

impl PartialLine {
    fn is_begun(&self) -> bool {
        self.too_long || !self.text.is_empty()
    }

    fn extend(&mut self, part: &[u8]) {
        if self.too_long || self.text.len() + part.len() > MAX_BODY {
            self.too_long = true;
            self.text = Vec::new();
        } else {
            self.text.extend_from_slice(part);
        }
    }

    fn take(&mut self) -> Line {
        let Self { text, too_long } = std::mem::take(self);
        if too_long {
            Line::TooLong
        } else {
            Line::Text(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn lines_are_split_and_an_overlong_one_is_skipped() {
        let input = [
            b"one\n\n".to_vec(),
            vec![b'x'; MAX_BODY + 1],
            b"\nlast".to_vec(),
        ]
        .concat();
        let mut input = BufReader::with_capacity(7, &input[..]);
        let mut partial = PartialLine::default();
        let mut lines = Vec::new();
        while let Some(line) = next(&mut input, &mut partial).await.unwrap() {
            lines.push(line);
        }
        let text = |text: &str| Line::Text(text.as_bytes().to_vec());
        assert_eq!(lines, [text("one"), text(""), Line::TooLong, text("last")]);
    }
}
