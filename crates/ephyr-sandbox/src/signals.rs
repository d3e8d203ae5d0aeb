use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Signals as readable sockets for a poll loop (the self-pipe): SIGHUP reloads, SIGTERM and SIGINT stop.
#[derive(Debug)]
pub struct Signals {
    stop: UnixStream,
    reload: UnixStream,
}

impl Signals {
    /// Installs the handlers. From then on the signals only make their socket readable.
    ///
    /// # Errors
    /// The system's error, for example when no file descriptors are left.
    pub fn install() -> io::Result<Self> {
        let (stop, told_to_stop) = UnixStream::pair()?;
        let (reload, told_to_reload) = UnixStream::pair()?;
        for socket in [&stop, &reload] {
            socket.set_nonblocking(true)?;
        }
        pipe::register(SIGTERM, told_to_stop.try_clone()?)?;
        pipe::register(SIGINT, told_to_stop)?;
        pipe::register(SIGHUP, told_to_reload)?;
        Ok(Self { stop, reload })
    }

    /// Returns the descriptor that becomes readable on SIGTERM or SIGINT.
    #[must_use]
    pub fn stop(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Returns the descriptor that becomes readable on SIGHUP.
    #[must_use]
    pub fn reload(&self) -> BorrowedFd<'_> {
        self.reload.as_fd()
    }

    /// Returns whether SIGHUP arrived since the last call. Several signals count as one.
    pub fn reload_asked(&self) -> bool {
        let mut buffer = [0; 64];
        let mut asked = false;
        while matches!((&self.reload).read(&mut buffer), Ok(n) if n > 0) {
            asked = true;
        }
        asked
    }
}
