//! Detects and removes the proof on standard output that a sealed command started.
//!
//! sshd reports the exit status of any program that it ran: a login shell that rejects the text, a closed
//! account (`nologin`), or a `ForceCommand` of its own configuration. Only a shell that ran the sealed text
//! prints [`SEALED_BEGINS`], so without it an exit does not count as the command's. A hostile target can
//! print the line too: the proof protects against mistakes, not against a hostile host.

use bytes::Bytes;
use ephyr_policy::SEALED_BEGINS;

/// Scans standard output for the line that the sealed text prints at its start.
#[derive(Default)]
pub(crate) struct Proof {
    seen: bool,
    /// The last bytes so far, at most one fewer than the line has: they may hold the start of the line.
    tail: Vec<u8>,
}

impl Proof {
    /// Returns whether the line was seen.
    pub(crate) fn is_seen(&self) -> bool {
        self.seen
    }

    /// Returns how many bytes of the next piece were written before the command started; all of them if the
    /// line was not seen yet.
    pub(crate) fn before_command(&mut self, piece: &Bytes) -> usize {
        if self.seen {
            return 0;
        }
        let line = SEALED_BEGINS.as_bytes();
        let carried = self.tail.len();
        self.tail.extend_from_slice(piece);
        if let Some(at) = self.tail.windows(line.len()).position(|part| part == line) {
            self.seen = true;
            self.tail = Vec::new();
            // The tail is shorter than the line, so the line ends within the piece.
            return at + line.len() - carried;
        }
        let surplus = self.tail.len().saturating_sub(line.len() - 1);
        self.tail.drain(..surplus);
        piece.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_found_wherever_the_output_is_split() {
        let all = [b"noise\nephyr-", SEALED_BEGINS.as_bytes(), b"out\n"].concat();
        for first in 0..=all.len() {
            for second in first..=all.len() {
                let mut proof = Proof::default();
                let mut output = Vec::new();
                for (from, to) in [(0, first), (first, second), (second, all.len())] {
                    let piece = Bytes::copy_from_slice(&all[from..to]);
                    let before = proof.before_command(&piece);
                    output.extend_from_slice(&piece[before..]);
                }
                assert!(proof.is_seen());
                assert_eq!(output, b"out\n", "{first} {second}");
            }
        }
    }

    #[test]
    fn only_the_first_proof_line_is_removed_and_it_is_required() {
        let mut proof = Proof::default();
        let twice = Bytes::from(SEALED_BEGINS.repeat(2));
        let before = proof.before_command(&twice);
        assert_eq!(&twice[before..], SEALED_BEGINS.as_bytes());
        let mut proof = Proof::default();
        let other = Bytes::from_static(b"ephyr-sealed-$((6*7))\n");
        assert_eq!(proof.before_command(&other), other.len());
        assert!(!proof.is_seen());
    }
}
