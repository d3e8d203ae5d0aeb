//! Output in pieces. As text, no piece ends inside a character; as base64, each has its offset, so that a
//! reader notices gaps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ephyr_api::Encoding;
use ephyr_mcp::Progress;
use ephyr_ssh::{Chunk, Stream};
use tokio::sync::mpsc;

/// Pieces of output that wait for a caller who wants progress; who is slower misses some.
const WAITING: usize = 16;

/// Passes output on to a caller that wants to see it as it comes.
pub(super) fn relay(progress: &Progress, encoding: Encoding) -> Option<mpsc::Sender<Chunk>> {
    if !progress.is_wanted() {
        return None;
    }
    let (pieces, mut arriving) = mpsc::channel::<Chunk>(WAITING);
    let progress = progress.clone();
    tokio::spawn(async move {
        let (mut stdout, mut stderr) = (Text::default(), Text::default());
        while let Some(piece) = arriving.recv().await {
            let text = match (encoding, piece.stream) {
                (Encoding::Text, Stream::Stdout) => stdout.take(&piece),
                (Encoding::Text, Stream::Stderr) => stderr.take(&piece),
                (Encoding::Base64, stream) => {
                    let name = match stream {
                        Stream::Stdout => "stdout",
                        Stream::Stderr => "stderr",
                    };
                    format!("{name} {} {}", piece.offset, STANDARD.encode(&piece.data))
                }
            };
            if !text.is_empty() {
                progress.report(text).await;
            }
        }
        for rest in [stdout.rest(), stderr.rest()] {
            if !rest.is_empty() {
                progress.report(rest).await;
            }
        }
    });
    Some(pieces)
}

/// Output that was cut off, without the character that was cut through.
pub(super) fn cut(output: &[u8], truncated: bool) -> &[u8] {
    let surplus = if truncated { unfinished(output) } else { 0 };
    &output[..output.len() - surplus]
}

/// One of a command's outputs on its way to a reader of text.
#[derive(Default)]
struct Text {
    /// The beginning of a character: at most three bytes.
    held: Vec<u8>,
    /// Where the next piece begins if none was missed.
    next: u64,
}

impl Text {
    /// What can be shown after this piece.
    fn take(&mut self, piece: &Chunk) -> String {
        // What goes on after a gap has nothing to do with what was held back.
        let mut text = if piece.offset == self.next {
            String::new()
        } else {
            self.rest()
        };
        self.held.extend_from_slice(&piece.data);
        self.next = piece.offset + piece.data.len() as u64;
        let whole = self.held.len() - unfinished(&self.held);
        let rest = self.held.split_off(whole);
        text.push_str(&String::from_utf8_lossy(&self.held));
        self.held = rest;
        text
    }

    /// What is left when nothing more comes.
    fn rest(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&held).into_owned()
    }
}

/// How many bytes at the end are the beginning of a character and no more.
fn unfinished(bytes: &[u8]) -> usize {
    let begins = |length: &usize| {
        let end = &bytes[bytes.len() - length..];
        std::str::from_utf8(end)
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3)).find(begins).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn piece(offset: u64, data: &[u8]) -> Chunk {
        Chunk {
            stream: Stream::Stdout,
            offset,
            data: Bytes::copy_from_slice(data),
        }
    }

    #[test]
    fn wherever_output_is_cut_the_pieces_are_the_whole() {
        let output = "aé漢🦀z".as_bytes();
        for first in 0..=output.len() {
            for second in first..=output.len() {
                let mut text = Text::default();
                let mut shown = String::new();
                for (from, to) in [(0, first), (first, second), (second, output.len())] {
                    shown += &text.take(&piece(from as u64, &output[from..to]));
                    assert!(!shown.contains('\u{fffd}'), "{first} {second}: {shown}");
                }
                shown += &text.rest();
                assert_eq!(shown.as_bytes(), output);
            }
        }
    }

    #[test]
    fn what_is_no_text_is_shown_as_such_and_not_held_back() {
        let mut text = Text::default();
        assert_eq!(text.take(&piece(0, b"a\xffb\x80")), "a\u{fffd}b\u{fffd}");
        assert_eq!(text.take(&piece(4, b"\xe6A")), "\u{fffd}A");
        assert_eq!(text.take(&piece(6, b"c\xe6\xbc")), "c");
        assert_eq!(text.rest(), "\u{fffd}", "the end of the output");
    }

    #[test]
    fn a_missed_piece_joins_no_halves_of_two_characters() {
        let mut text = Text::default();
        assert_eq!(text.take(&piece(0, b"\xe6\xbc")), "");
        assert_eq!(text.take(&piece(9, b"\xa2.")), "\u{fffd}\u{fffd}.");
        assert_eq!(text.take(&piece(11, "é".as_bytes())), "é");
    }

    #[test]
    fn output_that_was_cut_off_ends_with_a_whole_character() {
        assert_eq!(cut(b"ab\xe6\xbc", true), b"ab");
        assert_eq!(cut(b"ab\xe6\xbc", false), b"ab\xe6\xbc");
        assert_eq!(cut("aé".as_bytes(), true), "aé".as_bytes());
        assert_eq!(cut(b"", true), b"");
    }
}
