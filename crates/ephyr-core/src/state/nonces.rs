//! The nonces of accepted proofs: none is accepted twice, also across a restart. A nonce is kept until its proof is
//! too old to be accepted, so a replay is refused either for its nonce or for its age.
//!
//! The nonces are stored beside the state journal in two files, `nonces` and `nonces.before`. No nonce is valid for
//! more than a minute, so the older file is deleted as a whole and none is compacted.
//!
//! Format (version 1): the line `ephyr-broker-nonces 1`, then entries of `first 4 bytes of SHA-256 of the rest`,
//! `u64be expiry in milliseconds`, `32 bytes token digest`, `16 bytes nonce`, `u8 length of the name`, `agent name`.
//! An incomplete last entry, left by a kill during a write, is skipped: its request was not answered.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ephyr_names::{AgentName, Digest, Timestamp, Ttl};
use ephyr_sandbox::{Displaced, look_at};
use sha2::{Digest as _, Sha256};

use super::journal::open_file;
use crate::sync::{Mutex, PoisonError};

/// Maximum number of nonces of one agent. Most are valid for 30 s, which allows 4000 proofs per second.
pub const MAX_PER_AGENT: usize = 120_000;
/// Number of nonces of all agents from which each agent is limited to an equal share of it. This bounds the memory (up
/// to 170 bytes per nonce), and no agent can use up another's share.
const SHARED_FROM: usize = 240_000;
/// Number of nonces reserved for each agent.
const RESERVED: usize = 1000;

const HEADER: &[u8] = b"ephyr-broker-nonces 1\n";
const FILE: &str = "nonces";
const PREVIOUS: &str = "nonces.before";
const NEW: &str = "nonces.new";
/// Maximum validity of a nonce. A proof may be as far ahead of the clock as behind it, hence twice the skew.
const MAX_VALIDITY: Ttl = Ttl::from_secs(2 * ephyr_token::proof::SKEW.as_secs());

/// Why a proof is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NonceError {
    /// Its nonce was used before.
    #[error("Ephyr-Proof was used before: make one per request")]
    Used,
    /// The agent's limit of nonces is reached.
    #[error(
        "limit of unexpired proofs reached: agent {agent} has made {made} proofs; retry in {wait} s"
    )]
    TooMany {
        /// The agent.
        agent: AgentName,
        /// The number of its unexpired proofs.
        made: usize,
        /// Seconds until the first of them expires.
        wait: u64,
    },
    /// The nonces accepted before a restart are unknown.
    #[error(
        "the proofs accepted before the broker's restart are unknown; make a new one after {0}"
    )]
    Unknown(Timestamp),
    /// The nonces of that time were dropped as expired, and then the clock was set back.
    #[error("the clock was set back to a time whose proofs were dropped; make a new one in {0} s")]
    Forgotten(u64),
    /// Its nonce cannot be written to the file.
    #[error("the proof's nonce cannot be recorded ({0}); nothing was done")]
    Unwritten(#[from] io::Error),
}

/// The nonces of accepted proofs.
pub struct Nonces {
    seen: Mutex<SeenNonces>,
}

struct SeenNonces {
    agents: HashMap<AgentName, AgentNonces>,
    file: NonceFile,
    /// Proofs made up to this time are refused: a damaged file may have held their nonces.
    unknown_before: Option<Timestamp>,
    /// The latest expiry of a dropped nonce. Proofs that expire no later are refused: with a clock that was set back,
    /// they could be replayed.
    dropped_until: Option<Timestamp>,
}

#[derive(Default)]
struct AgentNonces {
    set: HashSet<NonceKey>,
    by_age: VecDeque<(Timestamp, NonceKey)>,
}

/// Token and nonce together: two tokens may use one nonce.
type NonceKey = (Digest, [u8; 16]);

impl AgentNonces {
    /// Drops expired nonces and returns the latest expiry among them.
    fn drop_expired(&mut self, now: Timestamp) -> Option<Timestamp> {
        let mut latest = None;
        while self.by_age.front().is_some_and(|(end, _)| *end < now) {
            if let Some((end, key)) = self.by_age.pop_front() {
                self.set.remove(&key);
                latest = latest.max(Some(end));
            }
        }
        latest
    }

    fn insert(&mut self, key: NonceKey, until: Timestamp) {
        if self.set.insert(key) {
            self.by_age.push_back((until, key));
        }
    }
}

impl SeenNonces {
    /// Checks the agent's limit for one more nonce. Expired nonces of others count until the next sweep, which can
    /// delay the agent by some seconds.
    fn check_limit(&self, agent: &AgentName, now: Timestamp) -> Result<(), NonceError> {
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
    /// Reads the nonces of a directory.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(super) fn open(dir: &Path, now: Timestamp) -> io::Result<Self> {
        let mut agents: HashMap<AgentName, AgentNonces> = HashMap::new();
        let mut intact = true;
        let mut dropped_until = None;
        for name in [PREVIOUS, FILE] {
            intact &= read_file(&dir.join(name), |agent, key, until| {
                if now <= until {
                    agents.entry(agent).or_default().insert(key, until);
                } else {
                    dropped_until = dropped_until.max(Some(until));
                }
            })?;
        }
        // A proof accepted before now can be dated ahead by the skew.
        let unknown_before = (!intact).then(|| now.after(ephyr_token::proof::SKEW));
        let file = NonceFile::create(dir, &agents, now)?;
        Ok(Self {
            seen: Mutex::new(SeenNonces {
                agents,
                file,
                unknown_before,
                dropped_until,
            }),
        })
    }

    /// Accepts a proof's nonce once. `made` is the proof's time, `until` its expiry.
    ///
    /// # Errors
    /// [`NonceError`]; the proof must not be accepted.
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
        seen.dropped_until = seen.dropped_until.max(own.drop_expired(now));
        if own.set.contains(&key) {
            return Err(NonceError::Used);
        }
        if let Some(dropped_until) = seen.dropped_until
            && until <= dropped_until
        {
            return Err(NonceError::Forgotten(
                dropped_until.since(until).as_secs() + 1,
            ));
        }
        if own.set.len() >= RESERVED {
            seen.check_limit(agent, now)?;
        }
        seen.file.append(agent, &key, until, now)?;
        if let Some(own) = seen.agents.get_mut(agent) {
            own.insert(key, until);
        }
        Ok(())
    }

    /// Returns how the file was displaced if it is no longer the one at its path.
    ///
    /// # Errors
    /// The check itself fails.
    pub(super) fn displaced(&self) -> io::Result<Option<Displaced>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.file.displaced()
    }

    /// Rewrites a displaced file from memory, which has all valid nonces. Returns what happened to the file.
    pub(super) fn restore(&self, now: Timestamp) -> io::Result<Option<Displaced>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let displaced = seen.file.displaced()?;
        if displaced.is_some() {
            seen.file = NonceFile::create(&seen.file.dir, &seen.agents, now)?;
        }
        Ok(displaced)
    }

    /// Drops the expired nonces of all agents.
    pub(super) fn sweep(&self, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let SeenNonces {
            agents,
            dropped_until,
            ..
        } = &mut *seen;
        agents.retain(|_, own| {
            *dropped_until = (*dropped_until).max(own.drop_expired(now));
            own.set.shrink_to(2 * own.by_age.len());
            own.by_age.shrink_to(2 * own.by_age.len());
            !own.by_age.is_empty()
        });
    }
}

/// The newer of the two files.
struct NonceFile {
    dir: PathBuf,
    file: File,
    created: Timestamp,
    len: u64,
    /// Set when a write failed and the file could not be cut back to `len`.
    broken: bool,
}

impl NonceFile {
    /// Creates a file with all nonces in memory and removes the previous ones.
    fn create(
        dir: &Path,
        agents: &HashMap<AgentName, AgentNonces>,
        now: Timestamp,
    ) -> io::Result<Self> {
        let path = dir.join(NEW);
        let mut bytes = HEADER.to_vec();
        for (agent, own) in agents {
            for (until, key) in &own.by_age {
                bytes.extend(encode_entry(agent, key, *until)?);
            }
        }
        let mut file = open_file(&path, true)?;
        file.set_len(0)?;
        file.write_all(&bytes)?;
        std::fs::rename(&path, dir.join(FILE))?;
        match std::fs::remove_file(dir.join(PREVIOUS)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            dir: dir.to_owned(),
            file,
            created: now,
            len: bytes.len() as u64,
            broken: false,
        })
    }

    /// Starts a new file and replaces `nonces.before`, all of whose nonces have expired. The new file is complete
    /// before the current one is renamed, so that a failure loses no valid nonce.
    fn rotate(&self, now: Timestamp) -> io::Result<Self> {
        let [path, before, new] = [FILE, PREVIOUS, NEW].map(|name| self.dir.join(name));
        let mut file = open_file(&new, true)?;
        file.set_len(0)?;
        file.write_all(HEADER)?;
        match std::fs::rename(&path, before) {
            // An earlier attempt failed after this rename.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::rename(new, path)?;
        Ok(Self {
            dir: self.dir.clone(),
            file,
            created: now,
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
        key: &NonceKey,
        until: Timestamp,
        now: Timestamp,
    ) -> io::Result<()> {
        if let Some(how) = self.displaced()? {
            return Err(io::Error::other(format!(
                "{} was {how} while in use; it is rewritten within a second, so retry",
                self.dir.join(FILE).display()
            )));
        }
        if self.created.after(MAX_VALIDITY) < now {
            *self = self.rotate(now)?;
        }
        if self.broken {
            self.file.set_len(self.len)?;
            self.broken = false;
        }
        let entry = encode_entry(agent, key, until)?;
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

fn encode_entry(
    agent: &AgentName,
    (token, nonce): &NonceKey,
    until: Timestamp,
) -> io::Result<Vec<u8>> {
    let name = agent.as_str().as_bytes();
    let mut entry = Vec::with_capacity(ENTRY_LEN + name.len());
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
const ENTRY_LEN: usize = 4 + 8 + 32 + 16 + 1;

/// Reads a file if it exists. Returns false if it is damaged; an incomplete last entry is no damage.
fn read_file(
    path: &Path,
    mut found: impl FnMut(AgentName, NonceKey, Timestamp),
) -> io::Result<bool> {
    let mut bytes = Vec::new();
    match open_file(path, false) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let Some(mut rest) = bytes.strip_prefix(HEADER) else {
        // Either an incomplete first line, or another kind of file.
        return Ok(HEADER.starts_with(&bytes));
    };
    while let Some((head, tail)) = rest.split_first_chunk::<ENTRY_LEN>() {
        let Some((name, next)) = tail.split_at_checked(usize::from(head[ENTRY_LEN - 1])) else {
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

    fn key(token: u8, nonce: u8) -> NonceKey {
        (Digest([token; 32]), [nonce; 16])
    }

    /// Accepts a proof made at `now`.
    fn accept(nonces: &Nonces, name: &str, key: NonceKey, now: i64) -> Result<(), NonceError> {
        nonces.accept(&agent(name), key, at(now), at(now + 30), at(now))
    }

    #[test]
    fn nonce_is_accepted_once_per_token() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        accept(&nonces, "a", key(1, 0), 0).unwrap();
        let replay = accept(&nonces, "a", key(1, 0), 0);
        assert!(matches!(replay, Err(NonceError::Used)));
        accept(&nonces, "a", key(2, 0), 0).unwrap();
        accept(&nonces, "a", key(1, 1), 0).unwrap();
    }

    #[test]
    fn nonce_is_dropped_once_its_proof_expires() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        accept(&nonces, "a", key(1, 0), 0).unwrap();
        accept(&nonces, "b", key(1, 0), 0).unwrap();
        accept(&nonces, "a", key(1, 0), 31).unwrap();
        assert_eq!(nonces.seen.lock().unwrap().agents[&agent("a")].set.len(), 1);
        nonces.sweep(at(31));
        assert_eq!(
            nonces.seen.lock().unwrap().agents.len(),
            1,
            "the nonces of b were not dropped"
        );
    }

    #[test]
    fn clock_steps_do_not_allow_a_replay() {
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
        // The file is read while the clock is wrong, the proof is used once it is right again.
        let nonces = Nonces::open(dir.path(), at(3700)).unwrap();
        let replay = accept(&nonces, "a", key(1, 2), 1);
        assert!(matches!(replay, Err(NonceError::Forgotten(_))));
        accept(&nonces, "a", key(1, 3), 3700).unwrap();
    }

    #[test]
    fn replay_is_refused_across_restarts_and_rotations() {
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
            // The file is rotated, then the broker restarts three times.
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
    fn files_stay_small_because_expired_nonces_are_dropped() {
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
            len(FILE) + len(PREVIOUS) < 30 * (ENTRY_LEN as u64 + 1),
            "{}",
            len(FILE)
        );
    }

    /// Adds nonces of an agent that expire at second 30.
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
    fn agents_share_the_nonce_limit_equally() {
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
        // The reserved number is available however many agents there are.
        for n in 0..SHARED_FROM / RESERVED {
            fill(&nonces, &format!("e{n}"), 1);
        }
        fill(&nonces, "f", RESERVED - 1);
        accepts("f").unwrap();
        assert!(accept(&nonces, "f", key(1, 2), 0).is_err());
        // Expired nonces no longer count.
        accept(&nonces, "a", key(1, 1), 31).unwrap();
    }

    #[test]
    fn nonce_limit_of_one_agent_does_not_affect_others() {
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
    fn torn_entry_is_skipped_and_damage_refuses_older_proofs() {
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
    fn failed_rotation_loses_no_nonces() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(dir.path(), at(0)).unwrap();
        accept(&nonces, "a", key(1, 0), 50).unwrap();
        // A rotation is due, and a directory blocks the new file.
        let blocked = dir.path().join(NEW);
        std::fs::create_dir(&blocked).unwrap();
        for n in 1..4 {
            let refused = accept(&nonces, "a", key(1, n), 70);
            assert!(matches!(refused, Err(NonceError::Unwritten(_))));
        }
        let read_back = |now| {
            let copy = tempfile::tempdir().unwrap();
            for name in [FILE, PREVIOUS] {
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
    fn proof_is_refused_if_its_nonce_cannot_be_written() {
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
            "the nonce of a refused proof was kept"
        );
    }

    #[test]
    fn removed_nonce_file_refuses_proofs_until_restored() {
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
