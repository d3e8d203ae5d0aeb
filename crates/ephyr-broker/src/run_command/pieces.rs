//! Relays output as progress messages, piece by piece. No piece of text ends inside a character; a base64 piece
//! carries its offset, so that a reader notices gaps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ephyr_api::Encoding;
use ephyr_mcp::Progress;
use ephyr_ssh::{Chunk, Stream};
use tokio::sync::mpsc;

/// The number of pieces queued for a caller; a slower reader misses pieces, and the command does not wait.
const QUEUE_LENGTH: usize = 16;

/// Starts a relay of output to the caller; `None` if the caller requested no progress.
pub(super) fn relay(progress: &Progress, encoding: Encoding) -> Option<mpsc::Sender<Chunk>> {
    if !progress.is_wanted() {
        return None;
    }
    let (pieces, mut arriving) = mpsc::channel::<Chunk>(QUEUE_LENGTH);
    let progress = progress.clone();
    tokio::spawn(async move {
        let (mut stdout, mut stderr) = (TextDecoder::default(), TextDecoder::default());
        while let Some(piece) = arriving.recv().await {
            let text = match (encoding, piece.stream) {
                (Encoding::Text, Stream::Stdout) => stdout.push(&piece),
                (Encoding::Text, Stream::Stderr) => stderr.push(&piece),
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

/// Returns truncated output without the incomplete character at its end.
pub(super) fn trim_partial_character(output: &[u8], truncated: bool) -> &[u8] {
    let surplus = if truncated {
        partial_character_len(output)
    } else {
        0
    };
    &output[..output.len() - surplus]
}

/// Decodes one output stream piece by piece.
#[derive(Default)]
struct TextDecoder {
    /// The first bytes of an incomplete character: at most three.
    held: Vec<u8>,
    /// The offset of the next piece, if none was missed.
    next: u64,
}

impl TextDecoder {
    /// Returns the complete characters up to the end of this piece.
    fn push(&mut self, piece: &Chunk) -> String {
        // After a gap, the held bytes do not belong to the same character as the new ones.
        let mut text = if piece.offset == self.next {
            String::new()
        } else {
            self.rest()
        };
        self.held.extend_from_slice(&piece.data);
        self.next = piece.offset + piece.data.len() as u64;
        let whole = self.held.len() - partial_character_len(&self.held);
        let rest = self.held.split_off(whole);
        text.push_str(&String::from_utf8_lossy(&self.held));
        self.held = rest;
        text
    }

    /// Returns the held bytes at the end of the stream.
    fn rest(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&held).into_owned()
    }
}

/// Returns the length of the incomplete character at the end.
fn partial_character_len(bytes: &[u8]) -> usize {
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
    fn pieces_join_to_the_whole_output_wherever_it_is_split() {
        let output = "aé漢🦀z".as_bytes();
        for first in 0..=output.len() {
            for second in first..=output.len() {
                let mut text = TextDecoder::default();
                let mut shown = String::new();
                for (from, to) in [(0, first), (first, second), (second, output.len())] {
                    shown += &text.push(&piece(from as u64, &output[from..to]));
                    assert!(!shown.contains('\u{fffd}'), "{first} {second}: {shown}");
                }
                shown += &text.rest();
                assert_eq!(shown.as_bytes(), output);
            }
        }
    }

    #[test]
    fn invalid_utf8_is_replaced_and_not_held_back() {
        let mut text = TextDecoder::default();
        assert_eq!(text.push(&piece(0, b"a\xffb\x80")), "a\u{fffd}b\u{fffd}");
        assert_eq!(text.push(&piece(4, b"\xe6A")), "\u{fffd}A");
        assert_eq!(text.push(&piece(6, b"c\xe6\xbc")), "c");
        assert_eq!(text.rest(), "\u{fffd}", "the end of the output");
    }

    #[test]
    fn missed_piece_does_not_join_halves_of_two_characters() {
        let mut text = TextDecoder::default();
        assert_eq!(text.push(&piece(0, b"\xe6\xbc")), "");
        assert_eq!(text.push(&piece(9, b"\xa2.")), "\u{fffd}\u{fffd}.");
        assert_eq!(text.push(&piece(11, "é".as_bytes())), "é");
    }

    #[test]
    fn truncated_output_ends_with_a_whole_character() {
        assert_eq!(trim_partial_character(b"ab\xe6\xbc", true), b"ab");
        assert_eq!(trim_partial_character(b"ab\xe6\xbc", false), b"ab\xe6\xbc");
        assert_eq!(
            trim_partial_character("aé".as_bytes(), true),
            "aé".as_bytes()
        );
        assert_eq!(trim_partial_character(b"", true), b"");
    }
}
