//! The TCP stream under the SSH session: acknowledged at once, bounded before the login, cut from outside.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustix::net::{Shutdown, shutdown, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes that a server may send before the login is done; an ordinary one sends about 5 KiB.
const MAX_BEFORE_LOGIN: usize = 256 * 1024;

/// Reads below this size are replies that the other side waits on, not bulk output.
const SMALL_READ: usize = 4096;

/// The stream that the SSH session reads and writes.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    received: usize,
}

/// Cuts the stream when dropped, whoever else still holds it.
///
/// The session runs in a task of its own that nothing else can end while it waits for the server.
pub(crate) struct Cut {
    shared: Arc<Shared>,
}

struct Shared {
    tcp: TcpStream,
    logged_in: AtomicBool,
}

/// The two ends for a connected stream.
pub(crate) fn pair(tcp: TcpStream) -> io::Result<(Wire, Cut)> {
    // Nagle's algorithm costs a round trip of 40 ms per request where the server delays its acknowledgement.
    tcp.set_nodelay(true)?;
    let shared = Arc::new(Shared {
        tcp,
        logged_in: AtomicBool::new(false),
    });
    let wire = Wire {
        shared: Arc::clone(&shared),
        received: 0,
    };
    Ok((wire, Cut { shared }))
}

impl Cut {
    /// Lifts the bound on what the server may send.
    pub(crate) fn logged_in(&self) {
        self.shared.logged_in.store(true, Ordering::Relaxed);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // It fails only when the other side has already closed.
        let _ = shutdown(&self.shared.tcp, Shutdown::Both);
    }
}

impl Wire {
    /// Counts what came in and asks the kernel to acknowledge it at once.
    fn took(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > 0 && bytes < SMALL_READ {
            // sshd leaves Nagle's algorithm on for commands, so a delayed acknowledgement delays its next
            // packet. The kernel forgets the setting by itself; a failure costs time and nothing else.
            let _ = sockopt::set_tcp_quickack(&self.shared.tcp, true);
        }
        if !self.shared.logged_in.load(Ordering::Relaxed) {
            self.received = self.received.saturating_add(bytes);
            if self.received > MAX_BEFORE_LOGIN {
                return Err(io::Error::other(
                    "the server sent more than 256 KiB before the login",
                ));
            }
        }
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.shared.tcp.poll_read_ready(cx))?;
            match self.shared.tcp.try_read(buf.initialize_unfilled()) {
                Ok(bytes) => {
                    buf.advance(bytes);
                    return Poll::Ready(self.took(bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.shared.tcp.poll_write_ready(cx))?;
            match self.shared.tcp.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Already closed by the other side is closed.
        let _ = shutdown(&self.shared.tcp, Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}
