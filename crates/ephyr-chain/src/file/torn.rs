//! Moves the incomplete last line that a crash leaves to a file of its own. The line was never acknowledged, so the chain
//! continues without it; it is kept because the content of a log is evidence.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ephyr_names::{Digest, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::beside::{dated_names, sync_directory};
use crate::error::ChainOpenError;

/// An incomplete last line that was moved aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file that contains it, mode 0600.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// Moves everything after `good` bytes to `<path>.torn-<time>` and truncates the file.
pub(super) fn move_aside(
    file: &File,
    path: &Path,
    good: u64,
    now: Timestamp,
) -> Result<Torn, ChainOpenError> {
    let (aside, mut out) = create_beside(path, now)?;
    let (bytes, sha256) = copy_behind(file, good, &mut out)
        .and_then(|copied| out.sync_all().map(|()| copied))
        .map_err(ChainOpenError::io("write", &aside))?;
    sync_directory(&aside)?;
    file.set_len(good)
        .and_then(|()| file.sync_all())
        .map_err(ChainOpenError::io(
            "truncate the incomplete last line of",
            path,
        ))?;
    Ok(Torn {
        path: aside,
        bytes,
        sha256,
    })
}

/// Creates the file for the incomplete line.
fn create_beside(path: &Path, now: Timestamp) -> Result<(PathBuf, File), ChainOpenError> {
    for aside in dated_names(path, "torn", now) {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside);
        match made {
            Ok(file) => return Ok((aside, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(ChainOpenError::io("create", &aside)(e)),
        }
    }
    Err(ChainOpenError::io("create a torn-line file beside", path)(
        io::ErrorKind::AlreadyExists.into(),
    ))
}

fn copy_behind(mut file: &File, good: u64, out: &mut File) -> io::Result<(u64, Digest)> {
    file.seek(SeekFrom::Start(good))?;
    let (mut hasher, mut bytes, mut chunk) = (Sha256::new(), 0, [0u8; 8192]);
    loop {
        let n = match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, Digest(hasher.finalize().into()))),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(&chunk[..n]);
        out.write_all(&chunk[..n])?;
        bytes += n as u64;
    }
}
