//! A process of a world: started with its output in a log, waited for, signalled, killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Context as _, Error, Result};
use crate::keeper::Roll;

/// How long anything may take to become ready. Generous: the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(5);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
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
    roll: Roll,
    ended: bool,
}

impl Daemon {
    pub(crate) fn spawn(name: &str, mut command: Command, log: &Path, roll: Roll) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .context(|| format!("opening {}", log.display()))?;
        let twin = file.try_clone().context(|| "sharing the log".into())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(twin)
            .spawn()
            .context(|| format!("starting {name} ({:?})", command.get_program()))?;
        roll.enter(child.id());
        Ok(Self {
            name: name.into(),
            child,
            log: log.into(),
            roll,
            ended: false,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// It does not run.
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

    /// Waits until `ready` gives a value.
    ///
    /// # Errors
    /// The process ended first, or it took too long; the error holds the log.
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
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.poll()?.is_some() {
            return Err(Error::new(format!("{} has ended already", self.name)));
        }
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::new("no such process id"))?;
        kill_process(pid, signal).context(|| format!("signalling {}", self.name))
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// The kernel does not know the process.
    pub fn poll(&mut self) -> Result<Option<Outcome>> {
        let status = self
            .child
            .try_wait()
            .context(|| format!("waiting for {}", self.name))?;
        if status.is_some() && !self.ended {
            self.ended = true;
            self.roll.strike(self.child.id());
        }
        Ok(status.map(Outcome::from))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It did not end in time.
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
            std::thread::sleep(PAUSE);
        }
    }

    /// Kills it with SIGKILL, as a crash would, and waits.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> Result<Outcome> {
        if self.poll()?.is_none() {
            // Ended in between: then the wait tells.
            let _ = self.child.kill();
        }
        self.wait()
    }

    /// Asks it to stop with SIGTERM, and waits.
    ///
    /// # Errors
    /// It had ended before, or does not end.
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
