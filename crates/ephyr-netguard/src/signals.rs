//! Signals as readable sockets for the poll loop: SIGHUP reloads, SIGTERM and SIGINT stop.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// The reading ends.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) stop: UnixStream,
    pub(crate) reload: UnixStream,
}

impl Signals {
    pub(crate) fn install() -> io::Result<Self> {
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

    /// Whether a reload was asked for since the last time; many signals are one.
    pub(crate) fn reload_asked(&self) -> bool {
        let mut buffer = [0; 64];
        let mut asked = false;
        while matches!((&self.reload).read(&mut buffer), Ok(n) if n > 0) {
            asked = true;
        }
        asked
    }
}
