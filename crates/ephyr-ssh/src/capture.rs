//! A command's output: kept up to a bound, counted and dropped beyond it.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::proof::Proof;

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where the command wrote it.
    pub stream: Stream,
    /// How many bytes the command had written there before: a listener that was too slow sees by it that it
    /// missed some.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
}

/// Both outputs of one command.
pub(crate) struct Capture {
    proof: Proof,
    /// Standard output from before the command started; not output of the command.
    before: Kept,
    stdout: Kept,
    pub(crate) stderr: Kept,
    progress: Option<mpsc::Sender<Chunk>>,
}

/// What is kept of one output.
pub(crate) struct Kept {
    pub(crate) data: Vec<u8>,
    pub(crate) total: u64,
    limit: usize,
}

impl Capture {
    /// Keeps at most so many bytes of each, and sends everything to `progress` as far as it keeps up.
    pub(crate) fn new(
        max_stdout: usize,
        max_stderr: usize,
        progress: Option<mpsc::Sender<Chunk>>,
    ) -> Self {
        Self {
            proof: Proof::default(),
            before: Kept::new(max_stdout),
            stdout: Kept::new(max_stdout),
            stderr: Kept::new(max_stderr),
            progress,
        }
    }

    /// Whether the sealed command proved that it started.
    pub(crate) fn has_begun(&self) -> bool {
        self.proof.is_seen()
    }

    /// The command's standard output; if it did not start, the output that came instead.
    pub(crate) fn take_stdout(&mut self) -> Kept {
        let kept = if self.has_begun() {
            &mut self.stdout
        } else {
            &mut self.before
        };
        std::mem::replace(kept, Kept::new(0))
    }

    /// Takes a piece of output.
    pub(crate) fn push(&mut self, stream: Stream, data: &Bytes) {
        if stream == Stream::Stderr {
            return self.keep(stream, data);
        }
        let before = self.proof.before_command(data);
        if self.proof.is_seen() {
            // A hostile target would otherwise have us keep it beside both outputs.
            self.before = Kept::new(0);
        } else {
            self.before.push(data);
        }
        if before < data.len() {
            self.keep(stream, &data.slice(before..));
        }
    }

    /// Keeps a piece of the command's output and passes it on.
    fn keep(&mut self, stream: Stream, data: &Bytes) {
        let kept = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let offset = kept.total;
        kept.push(data);
        if let Some(progress) = &self.progress {
            // Whoever is too slow misses pieces; the command does not wait for anyone.
            let _ = progress.try_send(Chunk {
                stream,
                offset,
                data: data.clone(),
            });
        }
    }
}

impl Kept {
    fn new(limit: usize) -> Self {
        Self {
            data: Vec::new(),
            total: 0,
            limit,
        }
    }

    fn push(&mut self, data: &[u8]) {
        let room = self.limit.saturating_sub(self.data.len());
        self.data.extend_from_slice(&data[..room.min(data.len())]);
        self.total = self.total.saturating_add(data.len() as u64);
    }

    /// Whether bytes were dropped.
    pub(crate) fn truncated(&self) -> bool {
        self.total > self.data.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use ephyr_policy::SEALED_BEGINS;

    use super::*;

    /// After the line that proves the command's start.
    fn begun(mut capture: Capture) -> Capture {
        let line = Bytes::from(format!("from a startup file\n{SEALED_BEGINS}"));
        capture.push(Stream::Stdout, &line);
        capture
    }

    #[test]
    fn what_comes_instead_of_a_command_is_kept_and_passed_to_nobody() {
        let (sender, mut listener) = mpsc::channel(1);
        let mut capture = Capture::new(6, 5, Some(sender));
        capture.push(Stream::Stdout, &Bytes::from_static(b"no login here"));
        assert!(!capture.has_begun() && listener.try_recv().is_err());
        let instead = capture.take_stdout();
        assert_eq!((&instead.data[..], instead.total), (&b"no log"[..], 13));
        let mut capture = begun(Capture::new(6, 5, None));
        capture.push(Stream::Stdout, &Bytes::from_static(b"out"));
        assert!(capture.has_begun());
        assert_eq!(capture.take_stdout().data, b"out");
    }

    #[test]
    fn output_before_the_command_is_dropped_once_it_began() {
        let mut capture = Capture::new(16, 16, None);
        capture.push(
            Stream::Stdout,
            &Bytes::from_static(b"from a startup file\n"),
        );
        assert_eq!(capture.before.data.len(), 16);
        capture.push(Stream::Stdout, &Bytes::from(SEALED_BEGINS));
        assert_eq!(capture.before.data.capacity(), 0);
        assert!(capture.take_stdout().data.is_empty());
    }

    #[test]
    fn output_is_kept_to_its_bound_and_counted_beyond() {
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
    fn a_slow_listener_misses_pieces_and_holds_nothing_up() {
        let (sender, mut listener) = mpsc::channel(1);
        let mut capture = begun(Capture::new(100, 100, Some(sender)));
        for piece in [&b"first"[..], b"second", b"third"] {
            capture.push(Stream::Stdout, &Bytes::from_static(piece));
        }
        assert_eq!(&listener.try_recv().unwrap().data[..], b"first");
        assert!(listener.try_recv().is_err());
        capture.push(Stream::Stdout, &Bytes::from_static(b"fourth"));
        assert_eq!(listener.try_recv().unwrap().offset, 16);
        assert_eq!(capture.stdout.data, b"firstsecondthirdfourth");
    }
}
