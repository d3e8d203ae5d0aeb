//! Continues a log in a new file: after its file reached the size limit, or after the open file was removed,
//! renamed or replaced. In both cases the new file begins with a record that names the log and the records
//! before it, so the chain spans both files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ephyr_chain::ChainFile;
use ephyr_chain::beside::{dated_names, sync_directory, with_suffix};
use ephyr_names::Digest;
use ephyr_sandbox::{Displaced, look_at, open_regular};
use rustix::fs::{AtFlags, CWD, linkat};

use crate::clock;
use crate::error::{AuditError, OpenError};
use crate::event::{Event, Severity};
use crate::files::{self, is_same_file, next_name};
use crate::open_log::{OpenLog, own_record};
use crate::record::{LogLink, Record, TAKEN_AWAY};
use crate::shared::{Shared, lock};

impl OpenLog {
    /// Rotates the log. The old file gets its rotated name before the new file replaces it at the path, so the path
    /// always has a log file, even after a crash.
    ///
    /// # Errors
    /// The rotation failed; the log continues in the old file.
    pub(crate) fn rotate(&mut self, shared: &Shared, policy: Digest) -> Result<PathBuf, OpenError> {
        // A foreign file at the path must not become part of this log.
        self.chain.check_place()?;
        let path = &shared.path;
        let old = files::rotated_name(path, self.fold.log(), self.first);
        let (next, hash) = self.begin_next(path, &self.link_record(policy))?;
        match std::fs::hard_link(path, &old) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_same_file(path, &old) => {}
            linked => linked.map_err(OpenError::io("create", &old))?,
        }
        self.switch_to(next, hash, shared)?;
        Ok(old)
    }

    /// Begins a new file after the open one was removed, renamed or replaced. The records so far are kept under the name
    /// that a rotation would give them, and the new file's first record names the cause. A foreign file at the path is
    /// moved aside.
    ///
    /// # Errors
    /// The log cannot be continued yet; the next call resumes.
    pub(crate) fn continue_elsewhere(
        &mut self,
        shared: &Shared,
        policy: Digest,
        how: Displaced,
    ) -> Result<(), OpenError> {
        let path = &shared.path;
        let old = files::rotated_name(path, self.fold.log(), self.first);
        keep_as(&self.chain, &old)?;
        let mut record = self.link_record(policy);
        record.severity = Severity::Alert;
        record = record
            .with_detail(TAKEN_AWAY, how.as_str())
            .with_detail("kept_as", name_of(&old));
        if let Some(aside) = move_aside(path)? {
            record = record.with_detail("moved_aside", name_of(&aside));
        }
        let (next, hash) = self.begin_next(path, &record)?;
        self.switch_to(next, hash, shared)
    }

    /// Returns the first record of the next file.
    fn link_record(&self, policy: Digest) -> Record {
        let mut record = own_record(Event::LogContinued, policy);
        record.log = Some(LogLink {
            log: self.fold.log(),
            count: self.fold.count(),
            previous: self.chain.head(),
            head: self.fold.head(),
        });
        record
    }

    /// Writes the next file under its temporary name.
    fn begin_next(&self, path: &Path, record: &Record) -> Result<(ChainFile, Digest), OpenError> {
        let next = next_name(path);
        match std::fs::remove_file(&next) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::io("remove", &next)(e));
            }
            _ => {}
        }
        let mut chain = ChainFile::create(&next, self.chain.head())?;
        let hash = chain.append(record)?;
        chain.sync()?;
        Ok((chain, hash))
    }

    /// Renames the next file into place and continues in it.
    fn switch_to(
        &mut self,
        mut next: ChainFile,
        first: Digest,
        shared: &Shared,
    ) -> Result<(), OpenError> {
        let path = &shared.path;
        std::fs::rename(next_name(path), path).map_err(OpenError::io("replace", path))?;
        next.set_path(path);
        self.first = self.fold.count();
        self.fold.push(first);
        self.chain = next;
        lock(&shared.progress).written(first, false);
        Ok(sync_directory(path)?)
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Keeps the records of a file that is no longer at its path: links the file to `kept` if it still has another name,
/// otherwise copies it.
fn keep_as(chain: &ChainFile, kept: &Path) -> Result<(), OpenError> {
    let file = chain.file();
    let is_kept = || look_at(file, kept).is_ok_and(|kept| kept.displaced.is_none());
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    let linked = linkat(CWD, open, CWD, kept, AtFlags::SYMLINK_FOLLOW);
    if linked.is_ok() || is_kept() {
        return Ok(sync_directory(kept)?);
    }
    // Linking fails if the file has no name left, or only one on another file system.
    let copy = with_suffix(kept, ".next");
    match std::fs::remove_file(&copy) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io("remove", &copy)(e));
        }
        _ => {}
    }
    let copied = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&copy)
        .and_then(|out| copy_to(file, chain.length(), out));
    copied.map_err(OpenError::io("write", &copy))?;
    // A file with this name may be evidence, or the copy of an earlier attempt that failed later.
    match std::fs::hard_link(&copy, kept) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_copy(kept, &copy) => {}
        linked => linked.map_err(OpenError::io("create", kept))?,
    }
    std::fs::remove_file(&copy).map_err(OpenError::io("remove", &copy))?;
    Ok(sync_directory(kept)?)
}

/// Returns whether the file at `kept` has the content of `copy`. Equal lengths are not enough: the copy is removed next
/// and may be the only one.
fn is_copy(kept: &Path, copy: &Path) -> bool {
    let equal = || -> io::Result<bool> {
        if !std::fs::symlink_metadata(kept)?.is_file() {
            return Ok(false);
        }
        let mut files = (open_regular(kept)?, open_regular(copy)?);
        if files.0.metadata()?.len() != files.1.metadata()?.len() {
            return Ok(false);
        }
        let (mut one, mut other) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            let read = files.0.read(&mut one)?;
            if read == 0 {
                return Ok(true);
            }
            files.1.read_exact(&mut other[..read])?;
            if one[..read] != other[..read] {
                return Ok(false);
            }
        }
    };
    equal().unwrap_or(false)
}

fn copy_to(file: &File, length: u64, mut out: File) -> io::Result<()> {
    let (mut at, mut chunk) = (0, vec![0; 64 * 1024]);
    while at < length {
        let left = usize::try_from(length - at).unwrap_or(usize::MAX);
        let most = left.min(chunk.len());
        let part = &mut chunk[..most];
        file.read_exact_at(part, at)?;
        out.write_all(part)?;
        at += most as u64;
    }
    out.sync_all()
}

/// Moves a foreign file at the path aside: an empty file from logrotate, or a modified copy.
fn move_aside(path: &Path) -> Result<Option<PathBuf>, OpenError> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(OpenError::io("examine", path))?,
    };
    let aside = dated_names(path, "replaced", clock::now())
        .find(|name| std::fs::symlink_metadata(name).is_err())
        .ok_or_else(|| OpenError::io("rename", path)(io::ErrorKind::AlreadyExists.into()))?;
    std::fs::rename(path, &aside).map_err(OpenError::io("rename", path))?;
    Ok(Some(aside))
}

/// Returns the error for callers that wait for a record when the log cannot be continued.
pub(crate) fn not_continued(path: &Path, how: Displaced, why: &OpenError) -> AuditError {
    AuditError::NotContinued {
        path: path.into(),
        how,
        why: why.to_string().into(),
    }
}
