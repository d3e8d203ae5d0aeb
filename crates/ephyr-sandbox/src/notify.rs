//! `sd_notify(3)`: telling systemd that the daemon is ready, reloads, stops or still lives.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::SandboxError;

/// The notification socket, connected before the sandbox closes and kept since; mute outside systemd.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Connects to `$NOTIFY_SOCKET`, where there is one.
    ///
    /// # Errors
    ///
    /// When the variable is set and the socket cannot be connected to.
    pub fn from_env() -> Result<Self, SandboxError> {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self {
                socket: None,
                watchdog: None,
            });
        };
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            match address.as_bytes() {
                [b'@', name @ ..] => {
                    socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
                }
                _ => socket.connect(&address)?,
            }
            // A reader that does not keep up must not stop the daemon.
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = connect().map_err(|why: io::Error| {
            SandboxError::system(format!("NOTIFY_SOCKET={}", address.display()), why)
        })?;
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        Ok(Self {
            socket: Some(socket),
            watchdog: number("WATCHDOG_USEC")
                .filter(|micros| ours && *micros > 0)
                .map(Duration::from_micros),
        })
    }

    /// How often [`watchdog`](Self::watchdog) is due: half of what systemd waits for.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// The daemon serves.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The daemon re-reads its configuration; [`ready`](Self::ready) ends it, whatever came of it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The daemon is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The daemon is alive.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// One line for `systemctl status`; line breaks become spaces.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace(['\n', '\r'], " ")));
    }

    /// A message that systemd does not get changes nothing for the daemon's callers.
    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message.as_bytes());
        }
    }
}
