//! Nonces of proofs that were accepted: none is accepted twice, before or after a restart. A nonce is kept
//! until its proof could no longer pass for its age, so a replay is refused either by the nonce or by the
//! time.
//!
//! They lie beside the state journal in files of their own, `nonces` and `nonces.before`: nothing in them
//! is worth more than a minute, so that the older one is thrown away whole and none is ever rewritten.
//! Format (version 1): the line `ephyr-broker-nonces 1`, then entries of `first 4 bytes of SHA-256 of what
//! follows`, `u64be milliseconds until it counts`, `32 bytes token digest`, `16 bytes nonce`, `u8 length of
//! the name`, `agent name`. What a kill in the middle of a write leaves at the end is passed over: its
//! request was not answered.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ephyr_names::{AgentName, Digest, Timestamp, Ttl};
use ephyr_sandbox::{Displaced, look_at};
use sha2::{Digest as _, Sha256};

use super::journal::open_file;
use crate::sync::{Mutex, PoisonError};

/// Nonces of one agent kept at once. They count for 30 s as a rule, so this is 4000 proofs a second.
pub const MAX_PER_AGENT: usize = 120_000;
/// Nonces of all agents together from which on each agent has an equal share and no more, so that many agents
/// cannot fill the memory (up to 170 bytes for each) and none can take another's room.
const SHARED_FROM: usize = 240_000;
/// So many are always an agent's own.
const FEW: usize = 1000;

const HEADER: &[u8] = b"ephyr-broker-nonces 1\n";
const FILE: &str = "nonces";
const BEFORE: &str = "nonces.before";
const NEW: &str = "nonces.new";
/// A proof may be as much ahead of the clock as it may be old, so nothing counts longer than twice that.
const COUNTS: Ttl = Ttl::from_secs(2 * ephyr_token::proof::SKEW.as_secs());

/// Why a proof is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NonceError {
    /// Its nonce was seen before.
    #[error("Ephyr-Proof was used before: make one per request")]
    Used,
    /// The agent makes more proofs than are remembered.
    #[error(
        "agent {agent} has made {made} proofs that still count, and no more are remembered; try again in \
         {wait} s"
    )]
    TooMany {
        /// The agent.
        agent: AgentName,
        /// Its proofs that count.
        made: usize,
        /// Seconds until the first of them no longer counts.
        wait: u64,
    },
    /// The nonces of the time before a restart are not known.
    #[error(
        "the broker does not know which proofs it accepted before its restart; make a new one after {0}"
    )]
    Unknown(Timestamp),
    /// Nonces of proofs of that time were dropped as too old, and then the clock was set back.
    #[error(
        "the clock was set back to a time whose proofs are no longer known; make a new one in {0} s"
    )]
    Forgotten(u64),
    /// It cannot be remembered across a restart.
    #[error("the proof cannot be remembered ({0}); nothing was done")]
    Unwritten(#[from] io::Error),
}

/// The nonces seen.
pub struct Nonces {
    seen: Mutex<Seen>,
}

struct Seen {
    agents: HashMap<AgentName, OfAgent>,
    log: Log,
    /// Proofs of before this are refused: an unreadable file may have held their nonces.
    unknown_before: Option<Timestamp>,
    /// Proofs that count until then or less were forgotten. To a clock that only goes forward they are too old
    /// anyway; after one that was set back they could be used again.
    forgotten: Option<Timestamp>,
}

#[derive(Default)]
struct OfAgent {
    set: HashSet<Key>,
    by_age: VecDeque<(Timestamp, Key)>,
}

/// Token and nonce together: two tokens may use one nonce.
type Key = (Digest, [u8; 16]);

impl OfAgent {
    /// Drops what no longer counts; the latest end among it.
    fn forget(&mut self, now: Timestamp) -> Option<Timestamp> {
        let mut latest = None;
        while self.by_age.front().is_some_and(|(end, _)| *end < now) {
            if let Some((end, key)) = self.by_age.pop_front() {
                self.set.remove(&key);
                latest = latest.max(Some(end));
            }
        }
        latest
    }

    fn insert(&mut self, key: Key, until: Timestamp) {
        if self.set.insert(key) {
            self.by_age.push_back((until, key));
        }
    }
}

impl Seen {
    /// Whether one more of the agent can be remembered. Those of others may have ended and not been dropped
    /// yet; then it is refused for some seconds longer.
    fn check_room(&self, agent: &AgentName, now: Timestamp) -> Result<(), NonceError> {
        let all: usize = self.agents.values().map(|own| own.set.len()).sum();
        let most = if all < SHARED_FROM {
            MAX_PER_AGENT
        } else {
            MAX_PER_AGENT.min(SHARED_FROM / self.agents.len().max(1))
        };
        match self.agents.get(agent) {
            Some(own) if own.set.len() >= most => {
                let first = own.by_age.front().map_or(now, |(end, _)| *end);
                Err(NonceError::TooMany {
                    agent: agent.clone(),
                    made: own.set.len(),
                    wait: first.since(now).as_secs() + 1,
                })
            }
            _ => Ok(()),
        }
    }
}

impl Nonces {
    /// Reads what the directory holds.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(super) fn open(dir: &Path, now: Timestamp) -> io::Result<Self> {
        let mut agents: HashMap<AgentName, OfAgent> = HashMap::new();
        let mut whole = true;
        let mut forgotten = None;
        for name in [BEFORE, FILE] {
            whole &= read(&dir.join(name), |agent, key, until| {
                if now <= until {
                    agents.entry(agent).or_default().insert(key, until);
                } else {
                    forgotten = forgotten.max(Some(until));
                }
            })?;
        }
        // A proof that was accepted up to now can be dated ahead by the skew.
        let unknown_before = (!whole).then(|| now.after(ephyr_token::proof::SKEW));
        let log = Log::begin(dir, &agents, now)?;
        Ok(Self {
            seen: Mutex::new(Seen {
                agents,
                log,
                unknown_before,
                forgotten,
            }),
        })
    }

    /// Accepts a proof's nonce once. `made` is the proof's time, `until` when it will be too old.
    ///
    /// # Errors
    /// [`NonceError`]; the proof must not be accepted then.
    pub fn accept(
        &self,
        agent: &AgentName,
        key: (Digest, [u8; 16]),
        made: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), NonceError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut *seen;
        if let Some(before) = seen.unknown_before
            && made <= before
        {
            return Err(NonceError::Unknown(before));
        }
        let own = match seen.agents.get_mut(agent) {
            Some(own) => own,
            None => seen.agents.entry(agent.clone()).or_default(),
        };
        seen.forgotten = seen.forgotten.max(own.forget(now));
        if own.set.contains(&key) {
            return Err(NonceError::Used);
        }
        if let Some(forgotten) = seen.forgotten
            && until <= forgotten
        {
            return Err(NonceError::Forgotten(forgotten.since(until).as_secs() + 1));
        }
        if own.set.len() >= FEW {
            seen.check_room(agent, now)?;
        }
        seen.log.append(agent, &key, until, now)?;
        if let Some(own) = seen.agents.get_mut(agent) {
            own.insert(key, until);
        }
        Ok(())
    }

    /// Returns how the file was displaced, if it is no longer the one at its path.
    ///
    /// # Errors
    /// The check itself fails.
    pub(super) fn displaced(&self) -> io::Result<Option<Displaced>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.log.displaced()
    }

    /// Rewrites the file if it was taken away and returns what happened to it. All valid nonces are in memory.
    pub(super) fn restore(&self, now: Timestamp) -> io::Result<Option<Displaced>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let displaced = seen.log.displaced()?;
        if displaced.is_some() {
            seen.log = Log::begin(&seen.log.dir, &seen.agents, now)?;
        }
        Ok(displaced)
    }

    /// Drops what no longer counts, of agents that make no more proofs too.
    pub(super) fn sweep(&self, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen {
            agents, forgotten, ..
        } = &mut *seen;
        agents.retain(|_, own| {
            *forgotten = (*forgotten).max(own.forget(now));
            own.set.shrink_to(2 * own.by_age.len());
            own.by_age.shrink_to(2 * own.by_age.len());
            !own.by_age.is_empty()
        });
    }
}

/// The newer of the two files.
struct Log {
    dir: PathBuf,
    file: File,
    begun: Timestamp,
    len: u64,
    /// Set when a write failed and the file could not be cut back to `len`.
    broken: bool,
}

impl Log {
    /// Begins with what still counts of the files of before, in one file.
    fn begin(dir: &Path, agents: &HashMap<AgentName, OfAgent>, now: Timestamp) -> io::Result<Self> {
        let path = dir.join(NEW);
        let mut bytes = HEADER.to_vec();
        for (agent, own) in agents {
            for (until, key) in &own.by_age {
                bytes.extend(entry(agent, key, *until)?);
            }
        }
        let mut file = open_file(&path, true)?;
        file.set_len(0)?;
        file.write_all(&bytes)?;
        std::fs::rename(&path, dir.join(FILE))?;
        match std::fs::remove_file(dir.join(BEFORE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            dir: dir.to_owned(),
            file,
            begun: now,
            len: bytes.len() as u64,
            broken: false,
        })
    }

    /// Begins a new file; what is in the one before the last no longer counts.
    /// It is whole before it takes the place of the one that still counts.
    fn next(&self, now: Timestamp) -> io::Result<Self> {
        let [path, before, new] = [FILE, BEFORE, NEW].map(|name| self.dir.join(name));
        let mut file = open_file(&new, true)?;
        file.set_len(0)?;
        file.write_all(HEADER)?;
        match std::fs::rename(&path, before) {
            // A step that failed after this one was tried again.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::rename(new, path)?;
        Ok(Self {
            dir: self.dir.clone(),
            file,
            begun: now,
            len: HEADER.len() as u64,
            broken: false,
        })
    }

    fn displaced(&self) -> io::Result<Option<Displaced>> {
        Ok(look_at(&self.file, &self.dir.join(FILE))?.displaced)
    }

    fn append(
        &mut self,
        agent: &AgentName,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> io::Result<()> {
        if let Some(how) = self.displaced()? {
            return Err(io::Error::other(format!(
                "{} was {how} while in use; it is rewritten within a second, so retry",
                self.dir.join(FILE).display()
            )));
        }
        if self.begun.after(COUNTS) < now {
            *self = self.next(now)?;
        }
        if self.broken {
            self.file.set_len(self.len)?;
            self.broken = false;
        }
        let entry = entry(agent, key, until)?;
        match self.file.write_all(&entry) {
            Ok(()) => {
                self.len += entry.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.broken = self.file.set_len(self.len).is_err();
                Err(error)
            }
        }
    }
}

fn entry(agent: &AgentName, (token, nonce): &Key, until: Timestamp) -> io::Result<Vec<u8>> {
    let name = agent.as_str().as_bytes();
    let mut entry = Vec::with_capacity(ENTRY + name.len());
    entry.extend_from_slice(&[0; 4]);
    entry.extend_from_slice(&until.unix_millis().to_be_bytes());
    entry.extend_from_slice(&token.0);
    entry.extend_from_slice(nonce);
    entry.push(u8::try_from(name.len()).map_err(io::Error::other)?);
    entry.extend_from_slice(name);
    let sum: [u8; 32] = Sha256::digest(&entry[4..]).into();
    entry[..4].copy_from_slice(&sum[..4]);
    Ok(entry)
}

/// Length of an entry without the name.
const ENTRY: usize = 4 + 8 + 32 + 16 + 1;

/// Reads a file, if it is there; says whether all of it could be understood, but for a torn last entry.
fn read(path: &Path, mut found: impl FnMut(AgentName, Key, Timestamp)) -> io::Result<bool> {
    let mut bytes = Vec::new();
    match open_file(path, false) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let Some(mut rest) = bytes.strip_prefix(HEADER) else {
        // Torn in its first line, or something else altogether.
        return Ok(HEADER.starts_with(&bytes));
    };
    while let Some((head, tail)) = rest.split_first_chunk::<ENTRY>() {
        let Some((name, next)) = tail.split_at_checked(usize::from(head[ENTRY - 1])) else {
            return Ok(true);
        };
        let mut sum = Sha256::new();
        sum.update(&head[4..]);
        sum.update(name);
        let name = std::str::from_utf8(name).ok().and_then(|n| n.parse().ok());
        let (true, Some(agent)) = (sum.finalize()[..4] == head[..4], name) else {
            return Ok(false);
        };
        let (mut until, mut token, mut nonce) = ([0; 8], [0; 32], [0; 16]);
        until.copy_from_slice(&head[4..12]);
        token.copy_from_slice(&head[12..44]);
        nonce.copy_from_slice(&head[44..60]);
        let until = Timestamp::from_unix_millis(i64::from_be_bytes(until));
        found(agent, (Digest(token), nonce), until);
        rest = next;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000 + seconds)
    }

    fn agent(name: &str) -> AgentName {
        name.parse().unwrap()
    }

    fn key(token: u8, nonce: u8) -> Key {
        (Digest([token; 32]), [nonce; 16])
    }

    /// Accepts a proof made at `now`.
    fn accept(nonces: &Nonces, name: &str, key: Key, now: i64) -> Result<(), NonceError> {
        nonces.accept(&agent(name), key, at(now), at(now + 30), at(now))
    }

    #[test]
    fn a_nonce_is_accepted_once_per_token() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        accept(&nonces, "a", key(1, 0), 0).unwrap();
        let replay = accept(&nonces, "a", key(1, 0), 0);
        assert!(matches!(replay, Err(NonceError::Used)));
        accept(&nonces, "a", key(2, 0), 0).unwrap();
        accept(&nonces, "a", key(1, 1), 0).unwrap();
    }

    #[test]
    fn it_is_forgotten_when_its_proof_is_too_old_anyway() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        accept(&nonces, "a", key(1, 0), 0).unwrap();
        accept(&nonces, "b", key(1, 0), 0).unwrap();
        accept(&nonces, "a", key(1, 0), 31).unwrap();
        assert_eq!(nonces.seen.lock().unwrap().agents[&agent("a")].set.len(), 1);
        nonces.sweep(at(31));
        assert_eq!(nonces.seen.lock().unwrap().agents.len(), 1, "b is gone");
    }

    #[test]
    fn a_clock_that_jumps_there_and_back_lets_no_proof_be_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        accept(&nonces, "a", key(1, 0), 0).unwrap();
        accept(&nonces, "b", key(1, 0), 0).unwrap();
        accept(&nonces, "a", key(1, 1), 3600).unwrap();
        nonces.sweep(at(3600));
        for name in ["a", "b"] {
            let replay = accept(&nonces, name, key(1, 0), 0);
            assert!(
                matches!(replay, Err(NonceError::Forgotten(1))),
                "{replay:?}"
            );
        }
        accept(&nonces, "a", key(1, 2), 1).unwrap();
        drop(nonces);
        // Read while the clock is wrong, used when it is right again.
        let nonces = Nonces::open(dir.path(), at(3700)).unwrap();
        let replay = accept(&nonces, "a", key(1, 2), 1);
        assert!(matches!(replay, Err(NonceError::Forgotten(_))));
        accept(&nonces, "a", key(1, 3), 3700).unwrap();
    }

    #[test]
    fn a_replay_is_refused_across_restarts_and_changes_of_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut now = 0;
        for pause in [0, 1, 29, 30, 59, 61, 10, 200, 5] {
            let nonces = Nonces::open(dir.path(), at(now)).unwrap();
            let (first, second) = (key(1, pause), key(2, pause));
            accept(&nonces, "a", first, now).unwrap();
            drop(nonces);
            let later = Nonces::open(dir.path(), at(now + 29)).unwrap();
            let replay = accept(&later, "a", first, now + 29);
            assert!(matches!(replay, Err(NonceError::Used)), "at {now}");
            accept(&later, "a", second, now + 29).unwrap();
            // A file begins, and then the broker starts three times.
            accept(&later, "a", key(3, pause), now + 50).unwrap();
            let mut again = later;
            for _ in 0..3 {
                drop(again);
                again = Nonces::open(dir.path(), at(now + 55)).unwrap();
            }
            let replay = accept(&again, "a", second, now + 55);
            assert!(matches!(replay, Err(NonceError::Used)), "at {now}");
            now += 60 + i64::from(pause);
        }
    }

    #[test]
    fn files_stay_small_since_what_no_longer_counts_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        for minute in 0..50_u8 {
            for n in 0..10 {
                let now = 60 * i64::from(minute) + i64::from(n);
                accept(&nonces, "a", key(minute, n), now).unwrap();
            }
        }
        let len = |name| std::fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(
            len(FILE) + len(BEFORE) < 30 * (ENTRY as u64 + 1),
            "{}",
            len(FILE)
        );
    }

    /// Proofs of an agent that count until second 30.
    fn fill(nonces: &Nonces, name: &str, count: usize) {
        let mut seen = nonces.seen.lock().unwrap();
        let own = seen.agents.entry(agent(name)).or_default();
        for n in 0..count {
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&n.to_be_bytes());
            own.insert((Digest::ZERO, nonce), at(30));
        }
    }

    #[test]
    fn agents_share_what_there_is_room_for_and_each_has_its_part() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        let accepts = |name: &str| accept(&nonces, name, key(1, 1), 0);
        for name in ["a", "b"] {
            fill(&nonces, name, SHARED_FROM / 2 - 1);
        }
        fill(&nonces, "c", SHARED_FROM / 3 - 2);
        assert!(matches!(accepts("a"), Err(NonceError::TooMany { .. })));
        accepts("c").unwrap();
        accept(&nonces, "c", key(1, 2), 0).unwrap();
        let full = accept(&nonces, "c", key(1, 3), 0).unwrap_err().to_string();
        assert!(full.contains("has made 80000 proofs"), "{full}");
        accepts("d").unwrap();
        // Few are an agent's own, however many agents there are.
        for n in 0..SHARED_FROM / FEW {
            fill(&nonces, &format!("e{n}"), 1);
        }
        fill(&nonces, "f", FEW - 1);
        accepts("f").unwrap();
        assert!(accept(&nonces, "f", key(1, 2), 0).is_err());
        // When they have ended there is room again.
        accept(&nonces, "a", key(1, 1), 31).unwrap();
    }

    #[test]
    fn one_agents_proofs_take_no_room_from_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        fill(&nonces, "a", MAX_PER_AGENT);
        let full = accept(&nonces, "a", key(1, 1), 0).unwrap_err().to_string();
        assert!(
            full.contains("agent a") && full.contains("in 31 s"),
            "{full}"
        );
        accept(&nonces, "b", key(1, 1), 0).unwrap();
        accept(&nonces, "a", key(1, 1), 31).unwrap();
    }

    #[test]
    fn what_a_kill_leaves_is_passed_over_and_other_damage_refuses_older_proofs() {
        for (cut, damaged) in [(true, false), (false, true)] {
            let dir = tempfile::tempdir().unwrap();
            let nonces = Nonces::open(dir.path(), at(0)).unwrap();
            accept(&nonces, "a", key(1, 0), 0).unwrap();
            accept(&nonces, "a", key(1, 1), 0).unwrap();
            let path = dir.path().join(FILE);
            let mut bytes = std::fs::read(&path).unwrap();
            if cut {
                bytes.pop();
            } else {
                bytes[HEADER.len() + 20] ^= 1;
            }
            std::fs::write(&path, bytes).unwrap();
            let again = Nonces::open(dir.path(), at(1)).unwrap();
            let known = accept(&again, "a", key(1, 0), 1);
            assert!(known.is_err());
            let other = accept(&again, "a", key(1, 2), 1);
            assert_eq!(matches!(other, Err(NonceError::Unknown(_))), damaged);
            accept(&again, "a", key(1, 3), 32).unwrap();
        }
    }

    #[test]
    fn a_file_that_could_not_be_begun_costs_none_of_the_nonces_before() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        accept(&nonces, "a", key(1, 0), 50).unwrap();
        // A new file is due, and something is in the way.
        let blocked = dir.path().join(NEW);
        std::fs::create_dir(&blocked).unwrap();
        for n in 1..4 {
            let refused = accept(&nonces, "a", key(1, n), 70);
            assert!(matches!(refused, Err(NonceError::Unwritten(_))));
        }
        let read_back = |now| {
            let copy = tempfile::tempdir().unwrap();
            for name in [FILE, BEFORE] {
                let _ = std::fs::copy(dir.path().join(name), copy.path().join(name));
            }
            let again = Nonces::open(copy.path(), at(now)).unwrap();
            accept(&again, "a", key(1, 0), now)
        };
        assert!(matches!(read_back(70), Err(NonceError::Used)));
        std::fs::remove_dir(&blocked).unwrap();
        accept(&nonces, "a", key(1, 4), 70).unwrap();
        assert!(matches!(read_back(70), Err(NonceError::Used)));
    }

    #[test]
    fn what_cannot_be_written_is_not_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        accept(&nonces, "a", key(1, 0), 0).unwrap();
        std::fs::remove_dir_all(dir.path()).unwrap();
        for now in [0, 90] {
            let refused = accept(&nonces, "a", key(1, 1), now);
            assert!(matches!(refused, Err(NonceError::Unwritten(_))));
        }
        let still = accept(&nonces, "a", key(1, 1), 90);
        assert!(
            matches!(still, Err(NonceError::Unwritten(_))),
            "not remembered"
        );
    }

    #[test]
    fn a_file_taken_away_accepts_nothing_until_it_is_restored() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        accept(&nonces, "a", key(1, 0), 0).unwrap();
        assert_eq!(nonces.restore(at(1)).unwrap(), None);
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let refused = accept(&nonces, "a", key(1, 1), 1);
        assert!(matches!(refused, Err(NonceError::Unwritten(_))));
        assert_eq!(nonces.restore(at(1)).unwrap(), Some(Displaced::Removed));
        accept(&nonces, "a", key(1, 1), 1).unwrap();
        drop(nonces);
        let again = Nonces::open(dir.path(), at(2)).unwrap();
        for nonce in 0..2 {
            let replay = accept(&again, "a", key(1, nonce), 2);
            assert!(matches!(replay, Err(NonceError::Used)));
        }
    }
}
