//! Opening a log: reading its current file through, finding how far it is countersigned, and writing
//! the record that begins it or tells of its recovery.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ephyr_names::Digest;
use ephyr_sandbox::read_regular;

use crate::clock;
use crate::error::OpenError;
use crate::event::{Event, Severity};
use crate::files;
use crate::ledger::Ledger;
use crate::record::{LogLink, Record};
use crate::writer::own_record;
use ephyr_chain::ChainFile;
use ephyr_chain::MAX_LINE;
use ephyr_chain::Torn;
use ephyr_chain::beside::{sync_directory, with_suffix};
use ephyr_chain::{Checkpoint, Fold};
use ephyr_chain::{Line, LineFault};

/// An open log.
pub(crate) struct Started {
    pub(crate) log: OpenLog,
    pub(crate) ledger: Ledger,
    pub(crate) created: bool,
    pub(crate) torn: Option<Torn>,
}

/// What the writer's thread holds.
pub(crate) struct OpenLog {
    pub(crate) chain: ChainFile,
    /// Over all records on disk.
    pub(crate) fold: Fold,
    /// Records in the files before this one.
    pub(crate) first: u64,
}

pub(crate) fn open(path: &Path, policy: Digest) -> Result<Started, OpenError> {
    let mut seen = Seen::default();
    let (chain, opened) = ChainFile::open(path, clock::now(), files::previous_of, &mut |line| {
        seen.take(line)
    })?;
    clear_unfinished_rotation(path, seen.link)?;
    let mut started = match (seen.link, seen.fold) {
        (Some(link), Some(fold)) => {
            let signed = signed_so_far(path, link, seen.checkpoint)?;
            check_not_cut(path, fold)?;
            Started {
                ledger: Ledger::new(fold.count(), seen.last_real, signed),
                log: OpenLog {
                    chain,
                    fold,
                    first: link.count,
                },
                created: false,
                torn: opened.torn,
            }
        }
        _ => begin(path, chain, policy, opened.torn)?,
    };
    if let Some(torn) = &started.torn {
        let file = torn.path.file_name().unwrap_or_default();
        let record = own_record(Event::LogRecovered, policy)
            .with_detail("bytes", torn.bytes.to_string())
            .with_detail("sha256", torn.sha256.to_string())
            .with_detail("kept_in", file.to_string_lossy().into_owned());
        started.append(&record)?;
    }
    Ok(started)
}

impl Started {
    fn append(&mut self, record: &Record) -> Result<(), OpenError> {
        let hash = self.log.chain.append(record)?;
        self.log.chain.sync()?;
        self.log.fold.push(hash);
        self.ledger.written(hash, false);
        Ok(())
    }
}

/// Begins a new log: its first record's id is the log's. If another one was here, that is told, and
/// its last checkpoint kept.
fn begin(
    path: &Path,
    chain: ChainFile,
    policy: Digest,
    torn: Option<Torn>,
) -> Result<Started, OpenError> {
    let mut record = own_record(Event::LogOpened, policy);
    if let Some(other) = kept_beside(path)? {
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
    let mut started = Started {
        ledger: Ledger::new(0, 0, fold),
        log: OpenLog {
            chain,
            fold,
            first: 0,
        },
        created: true,
        torn,
    };
    started.append(&record)?;
    Ok(started)
}

/// What the lines of the current file tell.
#[derive(Default)]
struct Seen {
    link: Option<LogLink>,
    fold: Option<Fold>,
    checkpoint: Option<Checkpoint>,
    last_real: u64,
}

impl Seen {
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

/// How far the log is countersigned; asks the files before this one where it has no checkpoint itself.
fn signed_so_far(path: &Path, link: LogLink, last: Option<Checkpoint>) -> Result<Fold, OpenError> {
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

/// The last checkpoint is also kept in a file beside the log: a log that holds less was cut.
fn check_not_cut(path: &Path, fold: Fold) -> Result<(), OpenError> {
    match kept_beside(path)? {
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

/// That checkpoint; none where the file is missing or holds something else, which the next one replaces.
fn kept_beside(path: &Path) -> Result<Option<Checkpoint>, OpenError> {
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

/// Takes away what a crash within a rotation leaves: a file begun, or a second name of this one.
fn clear_unfinished_rotation(path: &Path, link: Option<LogLink>) -> Result<(), OpenError> {
    let next = next_name(path);
    match std::fs::remove_file(&next) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io("remove", &next)(e));
        }
        _ => {}
    }
    let Some(link) = link else { return Ok(()) };
    let second = files::rotated_name(path, link.log, link.count);
    if is_same_file(path, &second) {
        std::fs::remove_file(&second).map_err(OpenError::io("remove", &second))?;
        sync_directory(path)?;
    }
    Ok(())
}

/// Under which name the next file is begun.
pub(crate) fn next_name(path: &Path) -> std::path::PathBuf {
    with_suffix(path, ".next")
}

pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    let (one, other) = (
        std::fs::symlink_metadata(one),
        std::fs::symlink_metadata(other),
    );
    matches!((one, other), (Ok(one), Ok(other)) if (one.dev(), one.ino()) == (other.dev(), other.ino()))
}
