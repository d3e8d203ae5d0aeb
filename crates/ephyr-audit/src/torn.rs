//! What a crash leaves: a last line without its end. It was never acknowledged to anybody, so the log
//! goes on without it; but it is kept, because what stands in a log is evidence.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ephyr_names::Digest;
use sha2::{Digest as _, Sha256};

use crate::clock;
use crate::error::OpenError;

/// An unfinished last line that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file it lies in now, mode 0600.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// Moves everything behind `good` bytes to `<path>.torn-<time>` and cuts it off.
pub(crate) fn put_aside(file: &File, path: &Path, good: u64) -> Result<Torn, OpenError> {
    let (aside, mut out) = create_beside(path)?;
    let (bytes, sha256) = copy_behind(file, good, &mut out)
        .and_then(|copied| out.sync_all().map(|()| copied))
        .map_err(OpenError::io("write", &aside))?;
    crate::file::sync_directory(&aside)?;
    file.set_len(good)
        .and_then(|()| file.sync_all())
        .map_err(OpenError::io("cut the unfinished last line off", path))?;
    Ok(Torn {
        path: aside,
        bytes,
        sha256,
    })
}

/// File names beside the log: the log's name with a word and the time appended, and a number if that is
/// taken.
pub(crate) fn names_beside(path: &Path, word: &str) -> impl Iterator<Item = PathBuf> {
    let time = clock::now().to_string().replace(['-', ':'], "");
    let name: OsString = path.as_os_str().to_owned();
    let word = word.to_owned();
    (0..100u32).map(move |attempt| {
        let mut name = name.clone();
        name.push(format!(".{word}-{time}"));
        if attempt > 0 {
            name.push(format!("-{attempt}"));
        }
        name.into()
    })
}

/// Creates the file named like the log with the time appended.
fn create_beside(path: &Path) -> Result<(PathBuf, File), OpenError> {
    for aside in names_beside(path, "torn") {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside);
        match made {
            Ok(file) => return Ok((aside, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(OpenError::io("make", &aside)(e)),
        }
    }
    Err(OpenError::io("make a torn-line file beside", path)(
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
