//! The signer's journal of signatures and refusals: a hash-chained file like the audit log, one JSON object a
//! line. It is the signer's only state.
//!
//! Each round of the poll loop stages its entries; one write and one fdatasync persist them before any reply of that
//! round is sent. The heads of the audit logs, which the signer computes itself, are recovered from the journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ephyr_chain::{ChainFile, ChainOpenError, ChainWriteError, Fold, LineFault, from_zero};
use ephyr_names::{Digest, RecordId, Timestamp};
use ephyr_sandbox::log;
use serde::Deserialize;

use crate::entry::{JournalEntry, JournalEvent};
use crate::refusals::{RefusalKind, Refusals};
use crate::rotation;
use crate::spare::{self, SpareState};

/// Maximum number of audit logs whose heads are kept. A broker starts a new log only when the old one was moved
/// away.
pub const MAX_LOGS: usize = 256;

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    file: ChainFile,
    /// The spare file to continue in if `file` is taken away; `None` once it is in use.
    spare: Option<ChainFile>,
    folds: BTreeMap<RecordId, Fold>,
    /// Heads in the entries staged in this round.
    staged_folds: BTreeMap<RecordId, Fold>,
    refusals: Refusals,
    staged_refusals: Vec<(RefusalKind, u32)>,
}

/// The state in which the journal was found.
#[derive(Debug)]
pub struct JournalOpened {
    /// Number of entries in the journal.
    pub entries: u64,
    /// Whether an unfinished last line, as a crash leaves one, was moved to another file.
    pub torn: bool,
    /// The path of the previous file if the journal was rotated.
    pub set_aside: Option<PathBuf>,
    /// A message to the operator about a journal that was taken away.
    pub warning: Option<String>,
}

/// Length in bytes above which the journal is rotated at the next start.
pub const ROTATION_LENGTH: u64 = 64 * 1024 * 1024;

impl Journal {
    /// Opens or creates the file, verifies its chain, and recovers the heads of the audit logs. A journal longer than
    /// `long` bytes is rotated.
    ///
    /// # Errors
    ///
    /// [`ChainOpenError`] if the file cannot be used or was modified.
    pub fn open(
        path: &Path,
        now: Timestamp,
        long: u64,
    ) -> Result<(Self, JournalOpened), ChainOpenError> {
        rotation::finish(path)?;
        let before = spare::take_place(path)?;
        let (mut journal, mut found) = Self::read(path, now)?;
        if journal.file.length() > long {
            let aside = rotation::rotate(path, &journal.file, journal.folds.values(), now)?;
            drop(journal);
            let (fresh, reread) = Self::read(path, now)?;
            journal = fresh;
            found = JournalOpened {
                set_aside: Some(aside),
                torn: found.torn,
                ..reread
            };
        }
        found.warning = match &before {
            SpareState::Nothing => None,
            SpareState::Continued(aside) => Some(continued(path, aside.as_deref())),
            SpareState::Missing => {
                // The heads of the audit logs are lost with it. The new journal must record why they start again.
                journal.stage(now, JournalEvent::Missing {})?;
                Some(missing(path))
            }
        };
        journal.spare = Some(spare::open(path, now)?);
        Ok((journal, found))
    }

    fn read(path: &Path, now: Timestamp) -> Result<(Self, JournalOpened), ChainOpenError> {
        let mut folds = BTreeMap::new();
        let (file, opened) = ChainFile::open(path, now, from_zero, &mut |line| {
            // Entries of a later version may have fields or events that this version does not know.
            let known: Recovered = line.parse()?;
            if let Recovered::Checkpoint { log, count, head } = known {
                folds.insert(log, Fold::resume(log, count, head));
            }
            Ok::<(), LineFault>(())
        })?;
        let found = JournalOpened {
            entries: file.lines(),
            torn: opened.torn.is_some(),
            set_aside: None,
            warning: None,
        };
        let journal = Self {
            file,
            spare: None,
            folds,
            staged_folds: BTreeMap::new(),
            refusals: Refusals::default(),
            staged_refusals: Vec::new(),
        };
        Ok((journal, found))
    }

    /// Stages an entry for the next [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// [`ChainWriteError::Record`] if the entry cannot be encoded as one line.
    pub fn stage(&mut self, time: Timestamp, event: JournalEvent) -> Result<(), ChainWriteError> {
        self.file.append(&JournalEntry { time, event })?;
        Ok(())
    }

    /// Stages the head of an audit log, which takes effect with the next [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// As [`stage`](Self::stage).
    pub fn stage_fold(&mut self, time: Timestamp, fold: Fold) -> Result<(), ChainWriteError> {
        self.stage(time, JournalEvent::of_fold(&fold))?;
        self.staged_folds.insert(fold.log(), fold);
        Ok(())
    }

    /// Returns the head of this log, staged or written. Returns `None` if the log is new and [`MAX_LOGS`] is reached.
    #[must_use]
    pub fn fold(&self, log: RecordId) -> Option<Fold> {
        let known = self.staged_folds.get(&log).or_else(|| self.folds.get(&log));
        let room = self.folds.len() + self.staged_folds.len() < MAX_LOGS;
        known.copied().or_else(|| room.then(|| Fold::new(log)))
    }

    /// Counts a refusal, and stages it unless its kind was written recently. Returns whether it was staged.
    pub(crate) fn refuse(&mut self, kind: RefusalKind, time: Timestamp, now: Duration) -> bool {
        let Some(kind) = self.refusals.note(kind, now) else {
            return false;
        };
        self.stage_refusal(kind, 1, time);
        true
    }

    /// Stages the counts that are due, or all of them.
    pub(crate) fn stage_due(&mut self, time: Timestamp, now: Duration, all: bool) {
        for (kind, count) in self.refusals.due(now, all) {
            self.stage_refusal(kind, count, time);
        }
    }

    /// Returns when [`stage_due`](Self::stage_due) must be called next, on the monotonic clock.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.refusals.next_due()
    }

    fn stage_refusal(&mut self, kind: RefusalKind, count: u32, time: Timestamp) {
        let event = JournalEvent::Refused {
            code: kind.code.as_str().to_owned(),
            agent: kind.agent.clone(),
            target: kind.target.clone(),
            role: kind.role.clone(),
            uid: kind.uid,
            count,
        };
        // Names and numbers can always be encoded.
        if self.stage(time, event).is_ok() {
            self.staged_refusals.push((kind, count));
        }
    }

    /// Writes everything staged to disk. If the file was taken away, writes nothing, and the journal continues in
    /// the spare file from the next round.
    ///
    /// # Errors
    ///
    /// [`ChainWriteError`] if writing fails. Then none of the entries is in the file, no head has moved, and the
    /// refusals stay counted.
    pub fn commit(&mut self, time: Timestamp, now: Duration) -> Result<(), ChainWriteError> {
        let folds = std::mem::take(&mut self.staged_folds);
        let refusals = std::mem::take(&mut self.staged_refusals);
        match self.file.sync() {
            Ok(()) => {
                self.folds.extend(folds);
                Ok(())
            }
            Err(error) => {
                for (kind, count) in refusals {
                    self.refusals.put_back(kind, count, now);
                }
                if let Some(how) = error.displaced() {
                    self.use_spare(time, how.as_str());
                }
                Err(error)
            }
        }
    }

    fn use_spare(&mut self, time: Timestamp, how: &str) {
        let began = match &mut self.spare {
            None => Err("it was already continued once".to_owned()),
            Some(spare) => spare::begin(spare, &self.file, self.folds.values(), time, how)
                .map_err(|error| error.to_string()),
        };
        match (began, self.spare.take()) {
            (Ok(()), Some(spare)) => {
                log::warning(&format!(
                    "the journal was {how} while in use; it continues in {}, which takes the journal's name at \
                     the next start",
                    spare.path().display()
                ));
                self.file = spare;
            }
            (began, spare) => {
                self.spare = spare;
                let why = began.err().unwrap_or_default();
                log::error(&format!(
                    "the journal was {how} while in use and cannot be continued ({why}): nothing is signed until \
                     the signer is restarted"
                ));
            }
        }
    }
}

fn continued(path: &Path, aside: Option<&Path>) -> String {
    let mut text = format!(
        "the journal {} had been taken away while in use; the spare file in which it continued was renamed to it",
        path.display()
    );
    if let Some(aside) = aside {
        text.push_str(&format!(
            "; another file found at that path was moved to {}",
            aside.display()
        ));
    }
    text
}

fn missing(path: &Path) -> String {
    format!(
        "the journal {} was there before and is missing; started a new one. The record of earlier signatures and the \
         countersigned heads of the audit logs are lost. If there is a copy, stop the signer, restore it and start \
         the signer",
        path.display()
    )
}

/// The part of an entry that is recovered as state.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Recovered {
    Checkpoint {
        log: RecordId,
        count: u64,
        head: Digest,
    },
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    fn log() -> RecordId {
        RecordId::from_bits(7)
    }

    fn open(dir: &tempfile::TempDir) -> Journal {
        Journal::open(&dir.path().join("journal"), at(0), ROTATION_LENGTH)
            .unwrap()
            .0
    }

    #[test]
    fn heads_are_committed_and_recovered() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(&dir);
        let mut fold = journal.fold(log()).unwrap();
        fold.push(Digest([1; 32]));
        journal.stage_fold(at(1), fold).unwrap();
        assert_eq!(
            journal.fold(log()).unwrap(),
            fold,
            "a second checkpoint of the round continues from it"
        );
        journal.commit(at(1), NOW).unwrap();
        drop(journal);
        let journal = open(&dir);
        assert_eq!(journal.fold(log()).unwrap(), fold);
        assert_eq!(journal.fold(RecordId::from_bits(8)).unwrap().count(), 0);
    }

    #[test]
    fn uncommitted_head_is_lost_at_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(&dir);
        let mut fold = journal.fold(log()).unwrap();
        fold.push(Digest([1; 32]));
        journal.stage_fold(at(1), fold).unwrap();
        drop(journal);
        assert_eq!(open(&dir).fold(log()).unwrap().count(), 0);
    }

    #[test]
    fn number_of_logs_is_limited() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(&dir);
        for bits in 0..MAX_LOGS {
            let fold = journal.fold(RecordId::from_bits(bits as u128)).unwrap();
            journal.stage_fold(at(1), fold).unwrap();
        }
        journal.commit(at(1), NOW).unwrap();
        assert!(journal.fold(RecordId::from_bits(1)).is_some());
        assert!(journal.fold(RecordId::from_bits(u128::MAX)).is_none());
    }
}
