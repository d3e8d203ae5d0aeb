//! Prints a command's output as it arrives, each byte once.
//!
//! The broker sends pieces while the command runs and the kept output at its end. A dropped piece (the command
//! does not wait for a slow reader) shows as a gap: later pieces then wait for the end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::failure::Failure;

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// How far each of the two outputs has been printed.
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

    /// Prints a piece, `stdout OFFSET BASE64`, if it is the next one.
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
        self.next(stream, offset, &decode(data)?)
    }

    /// Prints the rest of the kept output.
    ///
    /// # Errors
    /// Printing or decoding fails.
    pub(crate) fn rest(&mut self, stream: Stream, kept: &str) -> Result<(), Failure> {
        let kept = decode(kept)?;
        let printed = *self.printed(stream);
        let from = usize::try_from(printed).unwrap_or(usize::MAX);
        // The pieces may have contained more than the kept output.
        kept.get(from..)
            .map_or(Ok(()), |rest| self.next(stream, printed, rest))
    }

    fn printed(&mut self, stream: Stream) -> &mut u64 {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn next(&mut self, stream: Stream, offset: u64, data: &[u8]) -> Result<(), Failure> {
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

    /// Returns what is printed for these pieces and this kept output.
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
    fn each_byte_is_printed_once_whatever_pieces_were_dropped() {
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
    fn what_came_beyond_the_kept_output_is_not_printed_again() {
        assert_eq!(printed(&["stdout 0 YWJj"], "YWI="), "Stdout:abc ");
    }

    #[test]
    fn a_piece_of_another_form_is_not_understood() {
        let mut live = LiveOutput::new(|_, _: &[u8]| Ok(()));
        for piece in ["hello", "stdout x YQ==", "stdin 0 YQ==", "stdout 0 %"] {
            assert!(live.piece(piece).is_err(), "{piece}");
        }
    }
}
