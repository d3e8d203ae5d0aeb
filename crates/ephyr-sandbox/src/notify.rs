//! `sd_notify(3)`: notifies systemd that the daemon is ready, reloading, stopping or alive.
//!
//! The crate `sd-notify` formats the messages. It would connect for each of them, which the sandbox denies, so the socket
//! is connected here once, beforehand.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::{NotifyState, watchdog_enabled};

use crate::SandboxError;

/// The notification socket, connected before the sandbox is applied. Without `$NOTIFY_SOCKET` nothing is sent.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Connects to `$NOTIFY_SOCKET`, if it is set.
    ///
    /// # Errors
    ///
    /// The variable is set and the socket cannot be connected to.
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
            // A service manager that does not read must not block the daemon.
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = connect().map_err(|why: io::Error| {
            SandboxError::system(format!("NOTIFY_SOCKET={}", address.display()), why)
        })?;
        Ok(Self {
            socket: Some(socket),
            watchdog: watchdog_enabled().filter(|timeout| !timeout.is_zero()),
        })
    }

    /// Returns the interval for [`watchdog`](Self::watchdog): half of systemd's timeout.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|timeout| timeout / 2)
    }

    /// Reports that the daemon serves.
    pub fn ready(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// Reports the start of a reload. [`ready`](Self::ready) must follow, also after a failed reload.
    pub fn reloading(&self) {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now());
        self.send(&states);
    }

    /// Reports that the daemon is stopping.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// Resets systemd's watchdog timer.
    pub fn watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Sets the line that `systemctl status` shows; line breaks become spaces.
    pub fn status(&self, text: &str) {
        let text = text.replace(['\n', '\r'], " ");
        self.send(&[NotifyState::Status(&text)]);
    }

    /// Sends the states as one message. Failures are ignored: they do not affect the daemon's callers.
    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<String> = states.iter().map(NotifyState::to_string).collect();
        let _ = socket.send(lines.join("\n").as_bytes());
    }
}
