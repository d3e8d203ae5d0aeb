//! Prints a command's output as it arrives, each byte once.
//!
//! The broker sends pieces while the command runs, and the kept output when it ends. Pieces are dropped if the
//! reader is slow, since the command does not wait; after such a gap, all further output is printed at the end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::failure::Failure;

/// An output stream of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Prints the two output streams and counts the printed bytes of each.
pub(crate) struct LiveOutput<P> {
    print: P,
    stdout: u64,
    stderr: u64,
}

impl<P: FnMut(Stream, &[u8]) -> Result<(), Failure>> LiveOutput<P> {
    pub(crate) fn new(print: P) -> Self {
        Self {
            print,
            stdout: 0,
            stderr: 0,
        }
    }

    /// Prints a piece, `stdout OFFSET BASE64`, if no bytes are missing before it.
    ///
    /// # Errors
    /// Printing or decoding fails.
    pub(crate) fn piece(&mut self, piece: &str) -> Result<(), Failure> {
        let mut words = piece.split(' ');
        let stream = match words.next() {
            Some("stdout") => Some(Stream::Stdout),
            Some("stderr") => Some(Stream::Stderr),
            _ => None,
        };
        let offset = words.next().and_then(|offset| offset.parse().ok());
        let (Some(stream), Some(offset), Some(data)) = (stream, offset, words.next()) else {
            return Err(Failure::protocol(
                "a piece of output has an unexpected format",
            ));
        };
        self.print_next(stream, offset, &decode(data)?)
    }

    /// Prints the rest of the kept output.
    ///
    /// # Errors
    /// Printing or decoding fails.
    pub(crate) fn rest(&mut self, stream: Stream, kept: &str) -> Result<(), Failure> {
        let kept = decode(kept)?;
        let printed = *self.printed(stream);
        let from = usize::try_from(printed).unwrap_or(usize::MAX);
        // Pieces may extend beyond the limit of the kept output.
        kept.get(from..)
            .map_or(Ok(()), |rest| self.print_next(stream, printed, rest))
    }

    fn printed(&mut self, stream: Stream) -> &mut u64 {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn print_next(&mut self, stream: Stream, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let printed = self.printed(stream);
        if offset != *printed || data.is_empty() {
            return Ok(());
        }
        *printed += data.len() as u64;
        (self.print)(stream, data)
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(text).map_err(Failure::protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the text that is printed for these pieces and this kept output.
    fn printed(pieces: &[&str], kept: &str) -> String {
        let mut all = String::new();
        let mut live = LiveOutput::new(|stream, data: &[u8]| {
            let text = std::str::from_utf8(data).unwrap();
            all.push_str(&format!("{stream:?}:{text} "));
            Ok(())
        });
        for piece in pieces {
            live.piece(piece).unwrap();
        }
        live.rest(Stream::Stdout, kept).unwrap();
        live.rest(Stream::Stderr, "").unwrap();
        all
    }

    #[test]
    fn each_byte_is_printed_once_despite_dropped_pieces() {
        let (first, second, third) = ("stdout 0 YWI=", "stdout 2 Y2Q=", "stdout 4 ZQ==");
        // abcde
        let kept = "YWJjZGU=";
        assert_eq!(
            printed(&[first, second, third], kept),
            "Stdout:ab Stdout:cd Stdout:e "
        );
        assert_eq!(printed(&[first, third], kept), "Stdout:ab Stdout:cde ");
        assert_eq!(printed(&[second, third], kept), "Stdout:abcde ");
        assert_eq!(printed(&[], kept), "Stdout:abcde ");
        let errors = "stderr 0 eA==";
        assert_eq!(
            printed(&[first, errors, second], kept),
            "Stdout:ab Stderr:x Stdout:cd Stdout:e "
        );
    }

    #[test]
    fn pieces_beyond_the_kept_output_are_not_printed_twice() {
        assert_eq!(printed(&["stdout 0 YWJj"], "YWI="), "Stdout:abc ");
    }

    #[test]
    fn malformed_piece_is_an_error() {
        let mut live = LiveOutput::new(|_, _: &[u8]| Ok(()));
        for piece in ["hello", "stdout x YQ==", "stdin 0 YQ==", "stdout 0 %"] {
            assert!(live.piece(piece).is_err(), "{piece}");
        }
    }
}
