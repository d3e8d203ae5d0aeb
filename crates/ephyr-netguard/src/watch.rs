//! `ephyr-netguard watch`: the table is looked at whenever something of nf_tables changes, and every few seconds
//! besides; what is not as it should be is restored.

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

/// How often the table is looked at without a reason.
const INTERVAL: Duration = Duration::from_secs(5);

/// How soon it is tried again when it could not be put in force.
const RETRY: Duration = Duration::from_secs(1);

/// Changes within this time are one.
const SETTLE: Duration = Duration::from_millis(50);

/// So many differences are named; the rest is counted.
const NAMED: usize = 5;

/// Puts the table in force and keeps it there until the process is told to stop; then it stays in force.
pub(crate) fn run(guard: Guard, source: &PolicySource, status: &Path) -> Result<(), Error> {
    let notifier = Notifier::from_env()?;
    let signals = Signals::install()?;
    // Open before the table is applied: no change after that is missed.
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
        let patience = watch
            .patience()
            .min(notifier.watchdog_interval().unwrap_or(INTERVAL));
        let woken = wait(&signals, &monitor, patience)?;
        notifier.watchdog();
        if woken.stop {
            notifier.stopping();
            log::info("stopped; the table stays in force");
            return Ok(());
        }
        if woken.changed {
            monitor.drain();
        }
        let reload = signals.reload_asked();
        if reload {
            notifier.reloading();
            watch.reload(source);
        }
        watch.look();
        if reload {
            // After the look, so that the status file names the new policy when `systemctl reload` returns.
            notifier.ready();
        }
        if woken.changed {
            thread::sleep(SETTLE);
        }
    }
}

/// Why the loop goes on.
struct Woken {
    stop: bool,
    changed: bool,
}

fn wait(signals: &Signals, monitor: &Monitor, patience: Duration) -> io::Result<Woken> {
    let mut fds = [
        PollFd::from_borrowed_fd(signals.stop(), PollFlags::IN),
        PollFd::from_borrowed_fd(signals.reload(), PollFlags::IN),
        PollFd::new(monitor, PollFlags::IN),
    ];
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Woken {
        stop: !fds[0].revents().is_empty(),
        changed: !fds[2].revents().is_empty(),
    })
}

struct Watch {
    guard: Guard,
    file: PathBuf,
    table: NftTable,
    /// How the table is listed when it is as it should be.
    expected: Listing,
    counts: Counts,
    status: Status,
    /// Why the policy that is there is not the one in use; it outlasts looks at the table.
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
        watch.say();
        log::info(&format!(
            "{}; Landlock ABI {}",
            watch.summary(),
            landlock.abi
        ));
        Ok(watch)
    }

    fn patience(&self) -> Duration {
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

    /// Another policy: its table, or the old one and why.
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
                let why = format!("not reloaded, the table stays as it was: {error}");
                log::error(&why);
                self.refused = Some(why);
            }
        }
    }

    /// Compares the table with what it should be, and restores it.
    fn look(&mut self) {
        let differences = match self.guard.compare(&self.expected) {
            Ok((differences, counts)) => {
                self.counts.extend(counts);
                differences
            }
            // What someone put there may be why: one more reason to replace it.
            Err(error) => {
                let why = error.to_string();
                vec![Difference::Unlisted { why }]
            }
        };
        let outcome = match differences.is_empty() {
            true if self.status.in_force => Ok(()),
            // It was not known to be in force, and a copy may be besides.
            true => self.guard.tidy(),
            false => self.repair(&differences),
        };
        self.status.in_force = outcome.is_ok();
        self.status.problem = match outcome {
            Ok(()) => self.refused.clone(),
            Err(error) => Some(format!("the table is not known to be in force: {error}")),
        };
        self.say();
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
                    "someone changed the table inet ephyr; it is restored: {what}"
                ));
                Ok(())
            }
            Err(error) => {
                // It is tried again soon; that it failed once more is no news.
                if self.status.in_force {
                    log::alert(&format!(
                        "the table inet ephyr is not as it should be ({what}), and cannot be restored: {error}"
                    ));
                }
                Err(error)
            }
        }
    }

    /// Writes the status; one that cannot be written is said once.
    fn say(&mut self) {
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
                log::warning(&format!("the status cannot be written to {file}: {error}"));
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
