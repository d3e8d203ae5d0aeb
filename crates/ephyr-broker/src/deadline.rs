//! Bounds the duration of a shutdown: a thread that hangs in a system call, such as on a dead file system or a
//! blocked log, must not keep the process alive.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ephyr_sandbox::{Signals, exit, log};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Maximum duration of a shutdown: running requests end and clean up within 14 s, and the service manager kills
/// after 25 s.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Time allowed for writing the last log line.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Starts the shutdown timer when dropped. SIGTERM and SIGINT start it too, seen by a dedicated thread: the usual
/// signal thread may be the one that hangs.
pub(crate) struct StopDeadline {
    _begin: UnixStream,
}

impl StopDeadline {
    /// Watches for a shutdown; calls `end` when it has lasted for `limit`.
    ///
    /// # Errors
    /// No thread or no descriptor is available.
    pub(crate) fn start(limit: Duration, end: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let signals = Signals::install()?;
        let (begin, begun) = UnixStream::pair()?;
        std::thread::Builder::new()
            .name("stop".into())
            .spawn(move || {
                wait(&signals, &begun);
                std::thread::sleep(limit);
                end();
            })?;
        Ok(Self { _begin: begin })
    }
}

fn wait(signals: &Signals, begun: &UnixStream) {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(signals.stop(), PollFlags::IN),
            PollFd::new(begun, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            // Polling two open descriptors cannot fail; if it does, stopping is the safer choice.
            Ok(_) | Err(_) => return,
        }
    }
}

/// Ends the process now. Outcomes not yet recorded are lost; the log then has attempts without an outcome.
pub(crate) fn end_process() {
    // Standard error may be the cause of the hang.
    let last_words = std::thread::Builder::new().spawn(|| {
        log::error(&format!(
            "shutdown took longer than {} s and is cut short: a thread hangs, for example on a file system",
            LIMIT.as_secs()
        ));
    });
    if last_words.is_ok() {
        std::thread::sleep(LAST_WORDS);
    }
    std::process::exit(exit::SOFTWARE.into());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    const CHILD: &str = "EPHYR_TEST_STOP";

    /// Runs as a child with a hanging thread and triggers the shutdown.
    fn hang(way: &str) {
        let soon = Duration::from_millis(50);
        let deadline = StopDeadline::start(soon, end_process).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.spawn_blocking(|| {
            loop {
                std::thread::park();
            }
        });
        match way {
            "signal" => kill_process(getpid(), Signal::TERM).unwrap(),
            "error" => drop(deadline),
            // Without a stop request nothing happens.
            _ => {
                std::thread::sleep(4 * soon);
                std::process::exit(0);
            }
        }
        // Waits for the thread forever.
        drop(runtime);
        std::process::exit(1);
    }

    #[test]
    fn shutdown_ends_although_a_thread_hangs() {
        if let Ok(way) = std::env::var(CHILD) {
            return hang(&way);
        }
        for (way, code) in [("signal", 70), ("error", 70), ("not at all", 0)] {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("deadline::tests::shutdown_ends_although_a_thread_hangs")
                .env(CHILD, way)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stderr).into_owned();
            assert_eq!(child.status.code(), Some(code), "{way}: {said}");
            assert_eq!(said.contains("cut short"), code == 70, "{said}");
        }
    }
}
