//! `ephyr-netguard watch`: checks the table after every change of nf_tables and every few seconds, and restores it if it
//! differs.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ephyr_names::Timestamp;
use ephyr_policy::Policy;
use ephyr_render::NftTable;
use ephyr_sandbox::{LandlockReport, Notifier, Signals, log, require_abi};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::confine::confine;
use crate::guard::{Error, Guard};
use crate::listing::{Counts, Difference, Listing};
use crate::monitor::Monitor;
use crate::source::PolicySource;
use crate::status::{AgentStatus, Repair, Status};

/// Interval of checks without a notification.
const INTERVAL: Duration = Duration::from_secs(5);

/// Interval of checks while the table is not in force.
const RETRY: Duration = Duration::from_secs(1);

/// Delay after a notification, so that changes in quick succession cause one check.
const SETTLE: Duration = Duration::from_millis(50);

/// Maximum number of differences in a log line; the rest is counted.
const NAMED: usize = 5;

/// Puts the table in force and keeps it in force until SIGTERM or SIGINT. The table stays in force afterwards.
pub(crate) fn run(guard: Guard, source: &PolicySource, status: &Path) -> Result<(), Error> {
    let notifier = Notifier::from_env()?;
    let signals = Signals::install()?;
    // Opened before the table is applied, so that no later change is missed.
    let monitor = Monitor::open()?;
    let policy = source.policy()?;
    let landlock = confine(
        source.path(),
        guard.program(),
        status,
        policy.sandbox().minimum_abi,
    )?;
    let mut watch = Watch::start(guard, source, status, &policy, &landlock)?;
    notifier.ready();
    loop {
        notifier.status(&watch.summary());
        let timeout = watch
            .interval()
            .min(notifier.watchdog_interval().unwrap_or(INTERVAL));
        let wakeup = wait(&signals, &monitor, timeout)?;
        notifier.watchdog();
        if wakeup.stop {
            notifier.stopping();
            log::info("stopped; the table stays in force");
            return Ok(());
        }
        // Drained before the check, so that a change during the check causes another one.
        if wakeup.changed {
            monitor.drain();
        }
        let reload = signals.reload_asked();
        if reload {
            notifier.reloading();
            watch.reload(source);
        }
        watch.check();
        if reload {
            // After the check, so that the status file names the new policy when `systemctl reload` returns.
            notifier.ready();
        }
        if wakeup.changed {
            thread::sleep(SETTLE);
        }
    }
}

/// The events that ended a wait.
struct Wakeup {
    stop: bool,
    changed: bool,
}

fn wait(signals: &Signals, monitor: &Monitor, timeout: Duration) -> io::Result<Wakeup> {
    let mut fds = [
        PollFd::from_borrowed_fd(signals.stop(), PollFlags::IN),
        PollFd::from_borrowed_fd(signals.reload(), PollFlags::IN),
        PollFd::new(monitor, PollFlags::IN),
    ];
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Wakeup {
        stop: !fds[0].revents().is_empty(),
        changed: !fds[2].revents().is_empty(),
    })
}

struct Watch {
    guard: Guard,
    file: PathBuf,
    table: NftTable,
    /// The listing of the intact table.
    expected: Listing,
    counts: Counts,
    status: Status,
    /// The reason why the last reload failed; kept across checks until a reload succeeds.
    refused: Option<String>,
    status_fails: bool,
}

impl Watch {
    fn start(
        guard: Guard,
        source: &PolicySource,
        file: &Path,
        policy: &Policy,
        landlock: &LandlockReport,
    ) -> Result<Self, Error> {
        let table = source.table(policy);
        let counts = guard.counts();
        let expected = guard.replace(&table, &counts)?;
        let status = Status {
            version: 1,
            in_force: true,
            policy: table.policy().to_owned(),
            checked: now(),
            repairs: 0,
            last_repair: None,
            problem: None,
            agents: Vec::new(),
            landlock_abi: landlock.abi,
        };
        let mut watch = Self {
            guard,
            file: file.to_path_buf(),
            table,
            expected,
            counts,
            status,
            refused: None,
            status_fails: false,
        };
        watch.write_status();
        log::info(&format!(
            "{}; Landlock ABI {}",
            watch.summary(),
            landlock.abi
        ));
        Ok(watch)
    }

    fn interval(&self) -> Duration {
        if self.status.in_force {
            INTERVAL
        } else {
            RETRY
        }
    }

    fn summary(&self) -> String {
        let agents = self.table.agents().count();
        let repairs = self.status.repairs;
        match &self.status.problem {
            Some(problem) => format!("{agents} agents, {repairs} repairs; {problem}"),
            None => {
                format!("the table is in force: {agents} agents, {repairs} repairs")
            }
        }
    }

    /// Applies the current policy file; if that fails, keeps the table and records the reason.
    fn reload(&mut self, source: &PolicySource) {
        let replaced = source.policy().map_err(Error::from).and_then(|policy| {
            require_abi(self.status.landlock_abi, policy.sandbox().minimum_abi)?;
            let table = source.table(&policy);
            let counts = self.guard.counts();
            let expected = self.guard.replace(&table, &counts)?;
            Ok((table, expected))
        });
        match replaced {
            Ok((table, expected)) => {
                table.policy().clone_into(&mut self.status.policy);
                self.table = table;
                self.expected = expected;
                self.refused = None;
                log::info(&format!(
                    "reloaded the policy: {} agents",
                    self.table.agents().count()
                ));
            }
            Err(error) => {
                let why = format!("policy reload failed, the table is unchanged: {error}");
                log::error(&why);
                self.refused = Some(why);
            }
        }
    }

    /// Compares the table with the expected one and restores it if it differs.
    fn check(&mut self) {
        let differences = match self.guard.compare(&self.expected) {
            Ok((differences, counts)) => {
                self.counts.extend(counts);
                differences
            }
            // The change itself may be what cannot be listed, so treat it as a difference and replace the table.
            Err(error) => {
                let why = error.to_string();
                vec![Difference::Unlistable { why }]
            }
        };
        let outcome = match differences.is_empty() {
            true if self.status.in_force => Ok(()),
            // The previous replacement failed and may have left the copy in force.
            true => self.guard.remove_copy(),
            false => self.repair(&differences),
        };
        self.status.in_force = outcome.is_ok();
        self.status.problem = match outcome {
            Ok(()) => self.refused.clone(),
            Err(error) => Some(format!("the table may not be in force: {error}")),
        };
        self.write_status();
    }

    fn repair(&mut self, differences: &[Difference]) -> Result<(), Error> {
        let named: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let more = named.len().saturating_sub(NAMED);
        let mut what = named[..named.len().min(NAMED)].join("; ");
        if more > 0 {
            what = format!("{what}; and {more} more");
        }
        match self.guard.replace(&self.table, &self.counts) {
            Ok(expected) => {
                self.expected = expected;
                self.status.repairs += 1;
                self.status.last_repair = Some(Repair {
                    time: now(),
                    differences: named,
                });
                log::alert(&format!(
                    "table inet ephyr was changed and has been restored: {what}"
                ));
                Ok(())
            }
            Err(error) => {
                // Only the first failure is logged; the repair is retried every second.
                if self.status.in_force {
                    log::alert(&format!(
                        "table inet ephyr was changed ({what}) and cannot be restored; retrying: {error}"
                    ));
                }
                Err(error)
            }
        }
    }

    /// Writes the status file. A failure is logged only once until it succeeds again.
    fn write_status(&mut self) {
        self.status.checked = now();
        let agents = self.table.agents().map(|(name, uid, counter)| {
            let count = self.counts.get(&counter).copied().unwrap_or_default();
            AgentStatus {
                agent: name.to_string(),
                uid,
                rejected_packets: count.packets,
                rejected_bytes: count.bytes,
            }
        });
        self.status.agents = agents.collect();
        match self.status.write(&self.file) {
            Ok(()) => self.status_fails = false,
            Err(_) if self.status_fails => {}
            Err(error) => {
                self.status_fails = true;
                let file = self.file.display();
                log::warning(&format!("cannot write the status file {file}: {error}"));
            }
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
