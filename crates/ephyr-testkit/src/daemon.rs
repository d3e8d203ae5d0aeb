//! A long-running process of a world, with its output in a log file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Context as _, Error, Result};
use crate::keeper::ProcessList;

/// The time limit for a process to become ready or to end. Generous: the machine may be busy with
/// other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code; `None` if a signal ended the process.
    pub code: Option<i32>,
    /// The signal that ended the process.
    pub signal: Option<i32>,
}

impl From<ExitStatus> for Outcome {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        Self {
            code: status.code(),
            signal: status.signal(),
        }
    }
}

/// A running process whose output goes to a log file.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
    processes: ProcessList,
    ended: bool,
}

impl Daemon {
    pub(crate) fn spawn(
        name: &str,
        mut command: Command,
        log: &Path,
        processes: ProcessList,
    ) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .context(|| format!("opening {}", log.display()))?;
        let stderr = file.try_clone().context(|| "duplicating the log".into())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(stderr)
            .spawn()
            .context(|| format!("starting {name} ({:?})", command.get_program()))?;
        processes.add(child.id());
        Ok(Self {
            name: name.into(),
            child,
            log: log.into(),
            processes,
            ended: false,
        })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The output so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The path of the log file.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The resident memory in bytes.
    ///
    /// # Errors
    /// The process is not running.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(&path).context(|| format!("reading {path}"))?;
        text.lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
            .map(|kib: u64| kib * 1024)
            .ok_or_else(|| Error::new(format!("{path} has no VmRSS")))
    }

    /// Polls until `ready`, which is called with the log, returns a value.
    ///
    /// # Errors
    /// The process ended first, or the time limit passed; the error includes the log.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        mut ready: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            let ended = self.poll()?;
            if let Some(value) = ready(&self.log()) {
                return Ok(value);
            }
            let name = &self.name;
            if let Some(outcome) = ended {
                return Err(Error::new(format!(
                    "{name} ended ({outcome:?}) before {what}; its log:\n{}",
                    self.log()
                )));
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::new(format!(
                    "{name}: no {what} within {PATIENCE:?}; its log:\n{}",
                    self.log()
                )));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.poll()?.is_some() {
            return Err(Error::new(format!("{} has ended already", self.name)));
        }
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::new("no such process id"))?;
        kill_process(pid, signal).context(|| format!("signalling {}", self.name))
    }

    /// Returns the outcome if the process has ended.
    ///
    /// # Errors
    /// `waitpid` failed.
    pub fn poll(&mut self) -> Result<Option<Outcome>> {
        let status = self
            .child
            .try_wait()
            .context(|| format!("waiting for {}", self.name))?;
        if status.is_some() && !self.ended {
            self.ended = true;
            self.processes.remove(self.child.id());
        }
        Ok(status.map(Outcome::from))
    }

    /// Waits until the process ends.
    ///
    /// # Errors
    /// The process did not end within the time limit.
    pub fn wait(&mut self) -> Result<Outcome> {
        let start = Instant::now();
        loop {
            if let Some(outcome) = self.poll()? {
                return Ok(outcome);
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::new(format!(
                    "{} did not end within {PATIENCE:?}; its log:\n{}",
                    self.name,
                    self.log()
                )));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sends SIGKILL, to simulate a crash, and waits.
    ///
    /// # Errors
    /// Waiting failed.
    pub fn kill(&mut self) -> Result<Outcome> {
        if self.poll()?.is_none() {
            // Fails if the process has ended since the poll; `wait` returns that outcome.
            let _ = self.child.kill();
        }
        self.wait()
    }

    /// Sends SIGTERM and waits.
    ///
    /// # Errors
    /// The process had already ended, or did not end within the time limit.
    pub fn stop(&mut self) -> Result<Outcome> {
        self.signal(Signal::TERM)?;
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
