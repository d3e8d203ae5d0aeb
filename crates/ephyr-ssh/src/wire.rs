//! The TCP stream of an SSH session: acknowledged at once, limited before the login, closed from outside.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustix::net::{Shutdown, shutdown, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes that a server may send before the login completes; OpenSSH sends about 5 KiB.
const MAX_BEFORE_LOGIN: usize = 256 * 1024;

/// Smaller reads are replies whose acknowledgement the server waits for; larger ones are bulk output.
const SMALL_READ: usize = 4096;

/// The stream that the SSH session reads and writes.
pub(crate) struct SshStream {
    shared: Arc<Shared>,
    received: usize,
}

/// Closes the TCP connection when dropped, even while the SSH library still holds the stream.
///
/// The library runs the session in its own task, which nothing else can end while it waits for the server.
pub(crate) struct CloseGuard {
    shared: Arc<Shared>,
}

struct Shared {
    tcp: TcpStream,
    logged_in: AtomicBool,
}

/// Wraps a connected stream: the stream for the SSH library, and the guard that closes it.
pub(crate) fn pair(tcp: TcpStream) -> io::Result<(SshStream, CloseGuard)> {
    // Nagle's algorithm costs 40 ms per request if the server delays its acknowledgements.
    tcp.set_nodelay(true)?;
    let shared = Arc::new(Shared {
        tcp,
        logged_in: AtomicBool::new(false),
    });
    let stream = SshStream {
        shared: Arc::clone(&shared),
        received: 0,
    };
    Ok((stream, CloseGuard { shared }))
}

impl CloseGuard {
    /// Lifts the limit on the bytes that the server may send.
    pub(crate) fn logged_in(&self) {
        self.shared.logged_in.store(true, Ordering::Relaxed);
    }
}

impl Drop for CloseGuard {
    fn drop(&mut self) {
        // Fails only if the server has already closed the connection.
        let _ = shutdown(&self.shared.tcp, Shutdown::Both);
    }
}

impl SshStream {
    /// Counts received bytes and makes the kernel acknowledge small reads at once.
    fn record_read(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > 0 && bytes < SMALL_READ {
            // sshd leaves Nagle's algorithm on for commands, so a delayed acknowledgement delays its next
            // packet. The kernel resets the option by itself, so it is set again each time. A failure only
            // costs time.
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

impl AsyncRead for SshStream {
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
                    return Poll::Ready(self.record_read(bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for SshStream {
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
        // Fails only if the server has already closed the connection.
        let _ = shutdown(&self.shared.tcp, Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}
