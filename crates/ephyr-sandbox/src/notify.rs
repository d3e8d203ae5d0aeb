//! `sd_notify(3)`: tells systemd that the daemon is ready, reloads, stops or still lives.
//!
//! The crate `sd-notify` words the messages. It connects for each of them, which a closed sandbox refuses, so the
//! socket is connected here beforehand, once.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::{NotifyState, watchdog_enabled};

use crate::SandboxError;

/// The notification socket, connected before the sandbox closes. Outside systemd it sends nothing.
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

    /// The daemon serves.
    pub fn ready(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// The daemon reloads its configuration; [`ready`](Self::ready) ends it, whatever the result.
    pub fn reloading(&self) {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now());
        self.send(&states);
    }

    /// The daemon is about to end.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// The daemon is alive.
    pub fn watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Sets the line that `systemctl status` shows; line breaks become spaces.
    pub fn status(&self, text: &str) {
        let text = text.replace(['\n', '\r'], " ");
        self.send(&[NotifyState::Status(&text)]);
    }

    /// Sends the states as one message. A failure is ignored, since it changes nothing for the daemon's callers.
    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<String> = states.iter().map(NotifyState::to_string).collect();
        let _ = socket.send(lines.join("\n").as_bytes());
    }
}
