//! A command's output: kept up to a limit, counted and dropped beyond it.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::proof::Proof;

/// An output stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The stream that the command wrote to.
    pub stream: Stream,
    /// Number of bytes written to this stream before. A gap shows a slow receiver that it missed some.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
}

/// Collects both output streams of one command.
pub(crate) struct Capture {
    proof: Proof,
    /// Standard output from before the command started; not output of the command.
    before_start: BoundedOutput,
    stdout: BoundedOutput,
    pub(crate) stderr: BoundedOutput,
    progress: Option<mpsc::Sender<Chunk>>,
}

/// The first bytes of one stream, and the count of all.
pub(crate) struct BoundedOutput {
    pub(crate) data: Vec<u8>,
    pub(crate) total: u64,
    limit: usize,
}

impl Capture {
    /// Keeps at most this many bytes of each stream. Sends every piece to `progress` unless that is full.
    pub(crate) fn new(
        max_stdout: usize,
        max_stderr: usize,
        progress: Option<mpsc::Sender<Chunk>>,
    ) -> Self {
        Self {
            proof: Proof::default(),
            before_start: BoundedOutput::new(max_stdout),
            stdout: BoundedOutput::new(max_stdout),
            stderr: BoundedOutput::new(max_stderr),
            progress,
        }
    }

    /// Returns whether the sealed command proved that it started.
    pub(crate) fn has_begun(&self) -> bool {
        self.proof.is_seen()
    }

    /// Takes the command's standard output or, if it did not start, the output received instead.
    pub(crate) fn take_stdout(&mut self) -> BoundedOutput {
        let output = if self.has_begun() {
            &mut self.stdout
        } else {
            &mut self.before_start
        };
        std::mem::replace(output, BoundedOutput::new(0))
    }

    /// Records a piece of output.
    pub(crate) fn push(&mut self, stream: Stream, data: &Bytes) {
        if stream == Stream::Stderr {
            return self.keep(stream, data);
        }
        let before = self.proof.before_command(data);
        if self.proof.is_seen() {
            // Otherwise a hostile target could make us hold it in addition to both streams.
            self.before_start = BoundedOutput::new(0);
        } else {
            self.before_start.push(data);
        }
        if before < data.len() {
            self.keep(stream, &data.slice(before..));
        }
    }

    /// Stores a piece of the command's output and forwards it to `progress`.
    fn keep(&mut self, stream: Stream, data: &Bytes) {
        let output = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let offset = output.total;
        output.push(data);
        if let Some(progress) = &self.progress {
            // A slow receiver misses pieces: it must not delay the command.
            let _ = progress.try_send(Chunk {
                stream,
                offset,
                data: data.clone(),
            });
        }
    }
}

impl BoundedOutput {
    fn new(limit: usize) -> Self {
        Self {
            data: Vec::new(),
            total: 0,
            limit,
        }
    }

    fn push(&mut self, data: &[u8]) {
        let free = self.limit.saturating_sub(self.data.len());
        self.data.extend_from_slice(&data[..free.min(data.len())]);
        self.total = self.total.saturating_add(data.len() as u64);
    }

    /// Returns whether bytes were dropped.
    pub(crate) fn truncated(&self) -> bool {
        self.total > self.data.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use ephyr_policy::SEALED_BEGINS;

    use super::*;

    /// Feeds the line that proves the command's start.
    fn begun(mut capture: Capture) -> Capture {
        let line = Bytes::from(format!("from a startup file\n{SEALED_BEGINS}"));
        capture.push(Stream::Stdout, &line);
        capture
    }

    #[test]
    fn output_without_proof_is_kept_and_not_forwarded() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut capture = Capture::new(6, 5, Some(sender));
        capture.push(Stream::Stdout, &Bytes::from_static(b"no login here"));
        assert!(!capture.has_begun() && receiver.try_recv().is_err());
        let instead = capture.take_stdout();
        assert_eq!((&instead.data[..], instead.total), (&b"no log"[..], 13));
        let mut capture = begun(Capture::new(6, 5, None));
        capture.push(Stream::Stdout, &Bytes::from_static(b"out"));
        assert!(capture.has_begun());
        assert_eq!(capture.take_stdout().data, b"out");
    }

    #[test]
    fn output_before_the_command_is_dropped_once_it_starts() {
        let mut capture = Capture::new(16, 16, None);
        capture.push(
            Stream::Stdout,
            &Bytes::from_static(b"from a startup file\n"),
        );
        assert_eq!(capture.before_start.data.len(), 16);
        capture.push(Stream::Stdout, &Bytes::from(SEALED_BEGINS));
        assert_eq!(capture.before_start.data.capacity(), 0);
        assert!(capture.take_stdout().data.is_empty());
    }

    #[test]
    fn output_is_kept_to_its_limit_and_counted_beyond() {
        let mut capture = begun(Capture::new(5, 5, None));
        capture.push(Stream::Stdout, &Bytes::from_static(b"abc"));
        capture.push(Stream::Stderr, &Bytes::from_static(b"12345"));
        assert!(!capture.stdout.truncated());
        capture.push(Stream::Stdout, &Bytes::from_static(b"defg"));
        assert_eq!(capture.stdout.data, b"abcde");
        assert_eq!(capture.stdout.total, 7);
        assert!(capture.stdout.truncated());
        assert!(!capture.stderr.truncated());
    }

    #[test]
    fn slow_receiver_misses_pieces_and_delays_nothing() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut capture = begun(Capture::new(100, 100, Some(sender)));
        for piece in [&b"first"[..], b"second", b"third"] {
            capture.push(Stream::Stdout, &Bytes::from_static(piece));
        }
        assert_eq!(&receiver.try_recv().unwrap().data[..], b"first");
        assert!(receiver.try_recv().is_err());
        capture.push(Stream::Stdout, &Bytes::from_static(b"fourth"));
        assert_eq!(receiver.try_recv().unwrap().offset, 16);
        assert_eq!(capture.stdout.data, b"firstsecondthirdfourth");
    }
}
