//! Opens a log: reads its current file, determines how far it is countersigned, and writes the record of its start or
//! recovery.

use std::io;
use std::path::Path;

use ephyr_chain::beside::{sync_directory, with_suffix};
use ephyr_chain::{ChainFile, Checkpoint, Fold, Line, LineFault, MAX_LINE, Torn};
use ephyr_names::Digest;
use ephyr_sandbox::read_regular;

use crate::clock;
use crate::error::OpenError;
use crate::event::{Event, Severity};
use crate::files;
use crate::open_log::{OpenLog, own_record};
use crate::progress::CheckpointProgress;
use crate::record::{LogLink, Record};

/// An opened log, before its writer runs.
pub(crate) struct OpenedLog {
    pub(crate) log: OpenLog,
    pub(crate) progress: CheckpointProgress,
    pub(crate) created: bool,
    pub(crate) torn: Option<Torn>,
}

/// Opens the log at `path`, or creates it.
pub(crate) fn open(path: &Path, policy: Digest) -> Result<OpenedLog, OpenError> {
    let mut seen = CurrentFile::default();
    let (chain, found) = ChainFile::open(path, clock::now(), files::previous_of, &mut |line| {
        seen.take(line)
    })?;
    clear_unfinished_rotation(path, seen.link)?;
    let mut opened = match (seen.link, seen.fold) {
        (Some(link), Some(fold)) => {
            let signed = countersigned(path, link, seen.checkpoint)?;
            check_not_truncated(path, fold)?;
            OpenedLog {
                progress: CheckpointProgress::new(fold.count(), seen.last_real, signed),
                log: OpenLog {
                    chain,
                    fold,
                    first: link.count,
                },
                created: false,
                torn: found.torn,
            }
        }
        _ => begin(path, chain, policy, found.torn)?,
    };
    if let Some(torn) = &opened.torn {
        let file = torn.path.file_name().unwrap_or_default();
        let record = own_record(Event::LogRecovered, policy)
            .with_detail("bytes", torn.bytes.to_string())
            .with_detail("sha256", torn.sha256.to_string())
            .with_detail("kept_in", file.to_string_lossy().into_owned());
        opened.append(&record)?;
    }
    Ok(opened)
}

impl OpenedLog {
    fn append(&mut self, record: &Record) -> Result<(), OpenError> {
        let hash = self.log.chain.append(record)?;
        self.log.chain.sync()?;
        self.log.fold.push(hash);
        self.progress.written(hash, false);
        Ok(())
    }
}

/// Begins a new log, whose id is that of its first record. If the path held another log before, the record names that
/// log, and its last checkpoint file is renamed.
fn begin(
    path: &Path,
    chain: ChainFile,
    policy: Digest,
    torn: Option<Torn>,
) -> Result<OpenedLog, OpenError> {
    let mut record = own_record(Event::LogOpened, policy);
    if let Some(other) = read_checkpoint_file(path)? {
        let (from, to) = (
            files::checkpoint_file(path),
            with_suffix(path, &format!(".{}.checkpoint", other.log)),
        );
        std::fs::rename(&from, &to).map_err(OpenError::io("rename", &from))?;
        record.severity = Severity::Warn;
        record = record
            .with_detail("instead_of", other.log.to_string())
            .with_detail("countersigned", other.count.to_string());
    }
    let fold = Fold::new(record.id);
    record.log = Some(LogLink {
        log: record.id,
        count: 0,
        previous: Digest::ZERO,
        head: fold.head(),
    });
    let mut opened = OpenedLog {
        progress: CheckpointProgress::new(0, 0, fold),
        log: OpenLog {
            chain,
            fold,
            first: 0,
        },
        created: true,
        torn,
    };
    opened.append(&record)?;
    Ok(opened)
}

/// The facts read from the lines of the current file.
#[derive(Default)]
struct CurrentFile {
    link: Option<LogLink>,
    fold: Option<Fold>,
    checkpoint: Option<Checkpoint>,
    last_real: u64,
}

impl CurrentFile {
    fn take(&mut self, line: &Line<'_>) -> Result<(), LineFault> {
        let mut fold = match self.fold {
            Some(fold) => fold,
            None => {
                let link = files::opening(line)?;
                self.link = Some(link);
                Fold::resume(link.log, link.count, link.head)
            }
        };
        fold.push(line.hash());
        self.fold = Some(fold);
        match files::checkpoint_in(line)? {
            Some(checkpoint) => self.checkpoint = Some(checkpoint),
            None => self.last_real = fold.count(),
        }
        Ok(())
    }
}

/// Returns the fold over the countersigned records. Reads the older files if the current one has no checkpoint.
fn countersigned(path: &Path, link: LogLink, last: Option<Checkpoint>) -> Result<Fold, OpenError> {
    let last = match last {
        None if link.count > 0 => files::checkpoint_before(path, link)
            .map_err(OpenError::io("read the rotated files of", path))?,
        last => last,
    };
    Ok(match last {
        Some(checkpoint) if checkpoint.log == link.log => {
            Fold::resume(link.log, checkpoint.count, checkpoint.head)
        }
        _ => Fold::new(link.log),
    })
}

/// Compares the log with the checkpoint file beside it: a log with fewer records than the checkpoint covers was truncated.
fn check_not_truncated(path: &Path, fold: Fold) -> Result<(), OpenError> {
    match read_checkpoint_file(path)? {
        Some(kept) if kept.log == fold.log() && kept.count > fold.count() => {
            Err(OpenError::Truncated {
                path: path.into(),
                signed: kept.count,
                present: fold.count(),
            })
        }
        _ => Ok(()),
    }
}

/// Reads the checkpoint file. Returns `None` if it is missing or not a checkpoint; the next checkpoint replaces it.
fn read_checkpoint_file(path: &Path) -> Result<Option<Checkpoint>, OpenError> {
    let beside = files::checkpoint_file(path);
    match read_regular(&beside, MAX_LINE) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(OpenError::io("read", &beside)(e)),
    }
}

/// Removes the remains of a rotation that a crash interrupted: a new file under its temporary name, or a second name of
/// this file.
fn clear_unfinished_rotation(path: &Path, link: Option<LogLink>) -> Result<(), OpenError> {
    let next = files::next_name(path);
    match std::fs::remove_file(&next) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io("remove", &next)(e));
        }
        _ => {}
    }
    let Some(link) = link else { return Ok(()) };
    let second = files::rotated_name(path, link.log, link.count);
    if files::is_same_file(path, &second) {
        std::fs::remove_file(&second).map_err(OpenError::io("remove", &second))?;
        sync_directory(path)?;
    }
    Ok(())
}
