//! Rotates a long journal at startup, before the sandbox denies creating files. The new file starts with the last hash
//! of the old one and the heads of the audit logs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ephyr_chain::beside::{sync_directory, with_suffix};
use ephyr_chain::{ChainFile, ChainOpenError, Fold, from_zero};
use ephyr_names::Timestamp;

use crate::entry::{JournalEntry, JournalEvent};

/// Suffix of the new file until it is renamed to the journal.
const NEW: &str = ".new";

/// Continues the journal in a new file and returns the old file's new path. A crash before the first rename leaves the
/// old journal in place; [`finish`] completes one between the two renames.
pub(crate) fn rotate<'a>(
    path: &Path,
    old: &ChainFile,
    folds: impl Iterator<Item = &'a Fold>,
    time: Timestamp,
) -> Result<PathBuf, ChainOpenError> {
    let fresh = with_suffix(path, NEW);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ChainOpenError::io("remove", &fresh)(error));
        }
        _ => {}
    }
    let (mut file, _) = ChainFile::open(&fresh, time, from_zero, &mut |_| Ok(()))?;
    let first = JournalEvent::Continued {
        previous: old.head(),
        entries: old.lines(),
        taken_away: None,
    };
    for event in std::iter::once(first).chain(folds.map(JournalEvent::of_fold)) {
        file.append(&JournalEntry { time, event })?;
    }
    file.sync()?;
    let head = old.head().to_string();
    let aside = with_suffix(path, &format!(".{}", &head[..16]));
    rename(path, &aside)?;
    rename(&fresh, path)?;
    Ok(aside)
}

/// Completes a rotation that a crash interrupted between the two renames.
pub(crate) fn finish(path: &Path) -> Result<(), ChainOpenError> {
    let fresh = with_suffix(path, NEW);
    if fs::symlink_metadata(path).is_err() && fs::symlink_metadata(&fresh).is_ok() {
        rename(&fresh, path)?;
    }
    Ok(())
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), ChainOpenError> {
    fs::rename(from, to).map_err(ChainOpenError::io("rename", from))?;
    sync_directory(to)
}

#[cfg(test)]
mod tests {
    use ephyr_names::{Digest, RecordId};

    use super::*;
    use crate::journal::Journal;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_795_500_000_000);

    fn filled(path: &Path) -> Fold {
        let (mut journal, _) = Journal::open(path, NOW, u64::MAX).unwrap();
        let mut fold = journal.fold(RecordId::from_bits(3)).unwrap();
        fold.push(Digest([9; 32]));
        journal.stage_fold(NOW, fold).unwrap();
        journal.commit(NOW, std::time::Duration::ZERO).unwrap();
        fold
    }

    #[test]
    fn long_journal_is_rotated_with_its_heads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let fold = filled(&path);
        let before = fs::read(&path).unwrap();
        let (journal, found) = Journal::open(&path, NOW, 10).unwrap();
        assert_eq!(journal.fold(fold.log()).unwrap(), fold);
        let aside = found.set_aside.unwrap();
        assert_eq!(fs::read(&aside).unwrap(), before);
        let text = fs::read_to_string(&path).unwrap();
        let first: JournalEntry = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let JournalEvent::Continued {
            previous, entries, ..
        } = first.event
        else {
            panic!("{text}");
        };
        assert_eq!(entries, 1);
        assert!(
            String::from_utf8(before)
                .unwrap()
                .contains(&previous.to_string())
        );
        drop(journal);
        let (_, found) = Journal::open(&path, NOW, u64::MAX).unwrap();
        assert!(found.set_aside.is_none());
    }

    #[test]
    fn crash_between_the_renames_loses_no_head() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let fold = filled(&path);
        let (journal, found) = Journal::open(&path, NOW, 10).unwrap();
        drop(journal);
        fs::rename(&path, with_suffix(&path, NEW)).unwrap();
        assert!(found.set_aside.unwrap().exists());
        let (journal, _) = Journal::open(&path, NOW, u64::MAX).unwrap();
        assert_eq!(journal.fold(fold.log()).unwrap(), fold);
    }
}
