//! The poll loop: one thread, at most [`MAX_CONNECTIONS`] connections, one request and one reply each, within
//! [`DEADLINE`].
//!
//! Each round answers every complete request, syncs the journal once, then sends the replies. A stalled connection
//! occupies only its slot. When all slots are taken, a new connection displaces the oldest one that was already
//! open when the round began.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use ephyr_names::Timestamp;
use ephyr_sandbox::{Notifier, Signals, log, peer};
use ephyr_signer_ipc::{FrameReader, Reply, decode, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use rustix::time::{ClockId, clock_gettime};

use crate::error::StartError;
use crate::policy::PolicySource;
use crate::service::{Answer, Now, Service, journal_failed};

/// Maximum number of open connections.
pub(crate) const MAX_CONNECTIONS: usize = 64;

/// Time limit from accepting a connection to the last byte of its reply.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// Pause after `accept` failed, for example because no descriptors are left.
const PAUSE: Duration = Duration::from_millis(100);

/// The running signer.
pub(crate) struct Server {
    listener: UnixListener,
    signals: Signals,
    notifier: Notifier,
    service: Service,
    policy: PolicySource,
    connections: Vec<Connection>,
    watchdog_due: Option<Duration>,
    /// End of the pause after a failed `accept`.
    accept_from: Option<Duration>,
}

struct Connection {
    socket: OwnedFd,
    since: Duration,
    state: State,
}

enum State {
    /// Receiving the request.
    Reading(FrameReader),
    /// The answer is computed and waits for the journal.
    Answered(Answer),
    /// Sending the reply.
    Writing { frame: Vec<u8>, sent: usize },
    /// To be closed.
    Done,
}

/// Reads both clocks.
pub(crate) fn clocks() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = wall.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    });
    let monotonic = clock_gettime(ClockId::Monotonic);
    Now {
        time: Timestamp::from_unix_millis(millis),
        monotonic: Duration::new(
            monotonic.tv_sec.unsigned_abs(),
            u32::try_from(monotonic.tv_nsec).unwrap_or(0),
        ),
    }
}

impl Server {
    pub(crate) fn new(
        listener: UnixListener,
        signals: Signals,
        notifier: Notifier,
        service: Service,
        policy: PolicySource,
    ) -> Self {
        Self {
            listener,
            signals,
            notifier,
            service,
            policy,
            connections: Vec::new(),
            watchdog_due: None,
            accept_from: None,
        }
    }

    /// Serves until SIGTERM or SIGINT.
    pub(crate) fn run(mut self) -> Result<(), StartError> {
        self.notifier.ready();
        self.beat(clocks());
        log::info("serving");
        loop {
            let ready = self.wait()?;
            let now = clocks();
            if ready.stop {
                return self.stop(now);
            }
            if ready.reload {
                self.reload(now);
            }
            self.read(&ready.connections, now);
            // After `read`: existing connections get their chance before a new one can displace them.
            if ready.listener {
                self.accept(now);
            }
            self.accept_from = self.accept_from.filter(|from| now.monotonic < *from);
            self.settle(clocks());
            self.beat(now);
        }
    }

    /// Waits for an event or a deadline and returns the ready descriptors.
    fn wait(&self) -> Result<Ready, StartError> {
        let mut fds = Vec::with_capacity(self.connections.len() + 3);
        fds.push(PollFd::from_borrowed_fd(self.signals.stop(), PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(
            self.signals.reload(),
            PollFlags::IN,
        ));
        let accepting = self
            .accept_from
            .map_or(PollFlags::IN, |_| PollFlags::empty());
        fds.push(PollFd::new(&self.listener, accepting));
        for connection in &self.connections {
            let interest = match connection.state {
                State::Writing { .. } => PollFlags::OUT,
                _ => PollFlags::IN,
            };
            fds.push(PollFd::new(&connection.socket, interest));
        }
        let timeout = self.timeout().map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(why) => return Err(io::Error::from(why).into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = || ready.next().unwrap_or(false);
        Ok(Ready {
            stop: next(),
            reload: next(),
            listener: next(),
            connections: ready.collect(),
        })
    }

    /// Returns the time until the next deadline, or `None` if there is none.
    fn timeout(&self) -> Option<Duration> {
        let now = clocks().monotonic;
        let deadlines = self
            .connections
            .iter()
            .map(|connection| connection.since + DEADLINE);
        let due = deadlines
            .chain(self.service.next_due())
            .chain(self.watchdog_due)
            .chain(self.accept_from)
            .min()?;
        // One millisecond more, so that the deadline has passed when poll returns.
        Some(due.saturating_sub(now) + Duration::from_millis(1))
    }

    /// Reads from the ready connections and answers each complete request.
    fn read(&mut self, ready: &[bool], now: Now) {
        let ready = self.connections.iter_mut().zip(ready);
        for (connection, _) in ready.filter(|(_, ready)| **ready) {
            connection.advance(&mut self.service, now);
        }
    }

    /// Syncs the journal, then sends the replies: no signature is sent unrecorded. Drops connections that are done or
    /// past their deadline.
    fn settle(&mut self, now: Now) {
        self.service.stage_due(now);
        let journal = self.service.commit(now);
        if let Err(error) = &journal {
            log::error(&error.to_string());
        }
        let failed = journal.err().map(|error| journal_failed(&error));
        for connection in &mut self.connections {
            connection.reply(failed.as_ref());
            if now.monotonic >= connection.since + DEADLINE {
                connection.state = State::Done;
            }
        }
        self.connections
            .retain(|connection| !matches!(connection.state, State::Done));
    }

    /// Accepts new connections. Only connections that were open before this call can be displaced: those were read in
    /// this round.
    fn accept(&mut self, now: Now) {
        let mut displaceable = self.connections.len();
        for _ in 0..MAX_CONNECTIONS {
            let full = self.connections.len() == MAX_CONNECTIONS;
            // Connections are in order of arrival.
            let mut earlier = self.connections[..displaceable].iter();
            let oldest = earlier.position(|one| !matches!(one.state, State::Answered(_)));
            if full && oldest.is_none() {
                return;
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(why) => {
                    log::error(&format!(
                        "cannot accept a connection, pausing briefly: {why}"
                    ));
                    self.accept_from = Some(now.monotonic + PAUSE);
                    return;
                }
            };
            match peer(&socket) {
                Ok(who) if who.uid == self.policy.broker_uid() => {}
                Ok(who) => {
                    self.service.stranger(who.uid, now);
                    continue;
                }
                Err(_) => {
                    self.service.stranger(u32::MAX, now);
                    continue;
                }
            }
            if let (true, Some(oldest)) = (full, oldest) {
                self.connections.remove(oldest);
                displaceable -= 1;
            }
            self.connections.push(Connection {
                socket,
                since: now.monotonic,
                state: State::Reading(FrameReader::new()),
            });
        }
    }

    fn reload(&mut self, now: Now) {
        if !self.signals.reload_asked() {
            return;
        }
        self.notifier.reloading();
        match self.policy.load_for(self.service.sandbox().landlock_abi) {
            Ok(policy) => {
                let hash = policy.hash();
                match self.service.reload(policy, now) {
                    Ok(()) => log::notice(&format!("policy {hash} loaded")),
                    Err(why) => log::error(&format!(
                        "policy {hash} not loaded, the old policy stays in force: {why}"
                    )),
                }
            }
            Err(why) => log::error(&format!(
                "policy reload failed, the old policy stays in force: {why}"
            )),
        }
        self.notifier
            .status(&format!("policy {}", self.service.policy().hash()));
        self.notifier.ready();
    }

    fn stop(mut self, now: Now) -> Result<(), StartError> {
        self.notifier.stopping();
        self.service.stop(now)?;
        self.service.commit(now)?;
        log::info("stopped");
        Ok(())
    }

    /// Notifies systemd's watchdog if that is due.
    fn beat(&mut self, now: Now) {
        let Some(interval) = self.notifier.watchdog_interval() else {
            return;
        };
        if self.watchdog_due.is_none_or(|due| now.monotonic >= due) {
            self.notifier.watchdog();
            self.watchdog_due = Some(now.monotonic + interval);
        }
    }
}

struct Ready {
    stop: bool,
    reload: bool,
    listener: bool,
    connections: Vec<bool>,
}

impl Connection {
    /// Reads or writes as much as possible without blocking.
    fn advance(&mut self, service: &mut Service, now: Now) {
        match &mut self.state {
            State::Reading(reader) => {
                if let Some(next) = read(&self.socket, reader, service, now) {
                    self.state = next;
                }
            }
            State::Writing { .. } => self.write(),
            State::Answered(_) | State::Done => {}
        }
    }

    /// Sends the answer, or `failed` in place of a journaled one.
    fn reply(&mut self, failed: Option<&Reply>) {
        let State::Answered(answer) = &self.state else {
            return;
        };
        let reply = match failed {
            Some(error) if answer.journaled => error,
            _ => &answer.reply,
        };
        self.state = match encode(reply) {
            Ok(frame) => State::Writing { frame, sent: 0 },
            Err(_) => State::Done,
        };
        self.write();
    }

    fn write(&mut self) {
        let State::Writing { frame, sent } = &mut self.state else {
            return;
        };
        while *sent < frame.len() {
            match send(&self.socket, &frame[*sent..], SendFlags::NOSIGNAL) {
                Ok(n) => *sent += n,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.state = State::Done;
    }
}

/// Reads until no data is left, the request is complete, or it is malformed.
fn read(
    socket: impl AsFd,
    reader: &mut FrameReader,
    service: &mut Service,
    now: Now,
) -> Option<State> {
    let mut buffer = [0; 4096];
    loop {
        let arrived = match recv(&socket, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => return Some(State::Done),
            Ok((n, _)) => &buffer[..n],
            Err(Errno::AGAIN) => return None,
            Err(Errno::INTR) => continue,
            Err(_) => return Some(State::Done),
        };
        let answer = match reader.feed(arrived) {
            Ok(None) => continue,
            Ok(Some(body)) => match decode(body) {
                Ok(request) => service.handle(&request, now),
                Err(error) => service.malformed(&error.to_string(), now),
            },
            Err(error) => service.malformed(&error.to_string(), now),
        };
        return Some(State::Answered(answer));
    }
}
