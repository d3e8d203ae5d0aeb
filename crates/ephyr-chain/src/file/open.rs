//! Opens a chained file safely: a regular file of this process's user, with one writer.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat};
use rustix::io::Errno;

use crate::beside::sync_directory;
use crate::error::ChainOpenError;

/// Opens or creates the file for appending, and locks it against a second writer.
pub(super) fn open_locked(path: &Path) -> Result<File, ChainOpenError> {
    for _ in 0..10 {
        let file = match open_file(path, OFlags::empty()) {
            Err(ChainOpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                match open_file(path, OFlags::CREATE | OFlags::EXCL) {
                    Err(ChainOpenError::Io { source, .. })
                        if source.kind() == io::ErrorKind::AlreadyExists =>
                    {
                        continue;
                    }
                    other => other?,
                }
            }
            other => other?,
        };
        lock(&file, path)?;
        // Between opening and locking, another writer may have rotated the file and exited.
        let (ours, there) = (file.metadata(), std::fs::symlink_metadata(path));
        if let (Ok(ours), Ok(there)) = (ours, there)
            && (ours.dev(), ours.ino()) == (there.dev(), there.ino())
        {
            return Ok(file);
        }
    }
    Err(ChainOpenError::Locked(path.into()))
}

/// Creates a new file for appending, and locks it.
pub(super) fn create_locked(path: &Path) -> Result<File, ChainOpenError> {
    let file = open_file(path, OFlags::CREATE | OFlags::EXCL)?;
    lock(&file, path)?;
    Ok(file)
}

fn open_file(path: &Path, flags: OFlags) -> Result<File, ChainOpenError> {
    let flags = flags
        | OFlags::RDWR
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NONBLOCK
        | OFlags::NOCTTY;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let file = match rustix::fs::open(path, flags, mode) {
        Ok(fd) => File::from(fd),
        Err(Errno::LOOP) => return Err(ChainOpenError::Symlink(path.into())),
        Err(e) => return Err(ChainOpenError::io("open", path)(e.into())),
    };
    let stat = fstat(&file).map_err(|e| ChainOpenError::io("examine", path)(e.into()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(ChainOpenError::NotRegular(path.into()));
    }
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != own {
        return Err(ChainOpenError::ForeignOwner {
            path: path.into(),
            owner: stat.st_uid,
            own,
        });
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(ChainOpenError::Writable {
            path: path.into(),
            mode: stat.st_mode & 0o7777,
        });
    }
    if flags.contains(OFlags::CREATE) {
        // The umask must not decide whether the group can read the file.
        rustix::fs::fchmod(&file, mode)
            .map_err(|e| ChainOpenError::io("set the mode of", path)(e.into()))?;
        sync_directory(path)?;
    }
    Ok(file)
}

/// Locks the file. Retries for one second, because another writer may be about to exit, or its child may hold the lock
/// briefly between fork and exec.
fn lock(file: &File, path: &Path) -> Result<(), ChainOpenError> {
    for _ in 0..50 {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(Duration::from_millis(20)),
            Err(e) => return Err(ChainOpenError::io("lock", path)(e.into())),
        }
    }
    Err(ChainOpenError::Locked(path.into()))
}
