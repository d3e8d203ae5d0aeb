//! The file in which the journal continues after it was removed, renamed or replaced while the
//! signer runs.
//!
//! The sandbox keeps a running signer from creating files, so it opens an empty one beside the journal at every
//! start, `<journal>.spare`. Its first entries are those of a rotated journal: the hash and number of the earlier
//! entries, and the heads of the audit logs. At the next start it takes the journal's name.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use ephyr_chain::beside::with_suffix;
use ephyr_chain::{ChainFile, ChainOpenError, ChainWriteError, Fold, MAX_LINE, from_zero};
use ephyr_names::Timestamp;
use ephyr_sandbox::open_regular;

use crate::entry::{JournalEntry, JournalEvent};
use crate::rotation::rename;

/// The state found at startup after a journal was taken away.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SpareState {
    /// None: the journal is unchanged, or there never was one.
    Nothing,
    /// The spare file was in use and now has the journal's name; a file found there was moved
    /// aside.
    Continued(Option<PathBuf>),
    /// There was a journal before, and it is missing.
    Missing,
}

/// Renames a used spare file to the journal's name.
pub(crate) fn take_place(path: &Path) -> Result<SpareState, ChainOpenError> {
    let spare = name(path);
    let there = |path: &Path| match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(ChainOpenError::io("examine", path)(why)),
    };
    let journal = there(path)?;
    match there(&spare)? {
        None => Ok(SpareState::Nothing),
        Some(_) if has_entry(&spare)? => {
            let aside = match journal {
                None => None,
                Some(_) => Some(set_aside(path)?),
            };
            rename(&spare, path)?;
            Ok(SpareState::Continued(aside))
        }
        // An empty spare file means that no removal was noticed; the journal may still be gone.
        Some(_) if journal.is_none() => Ok(SpareState::Missing),
        Some(_) => Ok(SpareState::Nothing),
    }
}

/// Returns whether the file has a complete line: a crash may have left a partial first one.
fn has_entry(spare: &Path) -> Result<bool, ChainOpenError> {
    let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    open_regular(spare)
        .and_then(|file| BufReader::new(file.take(most)).read_until(b'\n', &mut line))
        .map_err(ChainOpenError::io("read", spare))?;
    Ok(line.ends_with(b"\n"))
}

fn set_aside(path: &Path) -> Result<PathBuf, ChainOpenError> {
    let aside = (0..100)
        .map(|n| with_suffix(path, &format!(".replaced-{n}")))
        .find(|name| fs::symlink_metadata(name).is_err())
        .ok_or_else(|| ChainOpenError::io("rename", path)(io::ErrorKind::AlreadyExists.into()))?;
    rename(path, &aside)?;
    Ok(aside)
}

/// Opens an empty spare file for this run.
pub(crate) fn open(path: &Path, now: Timestamp) -> Result<ChainFile, ChainOpenError> {
    let (file, _) = ChainFile::open(&name(path), now, from_zero, &mut |_| Ok(()))?;
    Ok(file)
}

/// Continues the journal in the spare file.
///
/// # Errors
/// Nothing was written; the call can be retried.
pub(crate) fn begin<'a>(
    spare: &mut ChainFile,
    old: &ChainFile,
    folds: impl Iterator<Item = &'a Fold>,
    time: Timestamp,
    taken_away: &str,
) -> Result<(), ChainWriteError> {
    let first = JournalEvent::Continued {
        previous: old.head(),
        entries: old.lines(),
        taken_away: Some(taken_away.to_owned()),
    };
    for event in std::iter::once(first).chain(folds.map(JournalEvent::of_fold)) {
        spare.append(&JournalEntry { time, event })?;
    }
    spare.sync()
}

fn name(path: &Path) -> PathBuf {
    with_suffix(path, ".spare")
}
