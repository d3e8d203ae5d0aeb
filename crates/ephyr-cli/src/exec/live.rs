//! A command's output on this program's own, as it comes, each byte once.
//!
//! The broker sends pieces while the command runs and the kept output at its end. A piece that was dropped on the
//! way (nothing waits for a slow reader) shows as a gap: what follows waits then for the end.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::failure::Failure;
use crate::output::Output;

/// How far each of the two outputs has been printed.
pub(crate) struct Live<'a> {
    output: &'a Output,
    stdout: u64,
    stderr: u64,
}

impl<'a> Live<'a> {
    pub(crate) fn new(output: &'a Output) -> Self {
        Self {
            output,
            stdout: 0,
            stderr: 0,
        }
    }

    /// Prints a piece, `stdout OFFSET BASE64`, if it is the next one.
    ///
    /// # Errors
    /// Standard output cannot be written, or the piece cannot be read.
    pub(crate) fn piece(&mut self, piece: &str) -> Result<(), Failure> {
        let mut words = piece.split(' ');
        let (stream, offset, data) = (words.next(), words.next(), words.next());
        let offset = offset.and_then(|offset| offset.parse().ok());
        let (Some(stream), Some(offset), Some(data)) = (stream, offset, data) else {
            return Err(Failure::protocol("a piece of output has another form"));
        };
        self.print(stream, offset, &decode(data)?)
    }

    /// Prints what of the kept output has not been printed.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn rest(&mut self, stream: &str, kept: &str) -> Result<(), Failure> {
        let kept = decode(kept)?;
        let printed = *self.printed(stream);
        let from = usize::try_from(printed).unwrap_or(usize::MAX);
        // More than is kept may have come in pieces.
        kept.get(from..)
            .map_or(Ok(()), |rest| self.print(stream, printed, rest))
    }

    fn printed(&mut self, stream: &str) -> &mut u64 {
        if stream == "stderr" {
            &mut self.stderr
        } else {
            &mut self.stdout
        }
    }

    fn print(&mut self, stream: &str, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let printed = self.printed(stream);
        if offset != *printed || data.is_empty() {
            return Ok(());
        }
        *printed += data.len() as u64;
        if stream == "stderr" {
            // The remote command's errors are shown even where nobody reads ours.
            let _ = io::stderr().write_all(data);
            return Ok(());
        }
        self.output.raw(data)
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(text).map_err(Failure::protocol)
}
