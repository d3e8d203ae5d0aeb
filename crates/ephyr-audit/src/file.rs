//! A chained file with one writer: opened with suspicion, appended to in batches, and never left with
//! anything in it that was not acknowledged as a whole. Synchronous; the signer's journal uses it as
//! it is, the broker's log through [`Writer`](crate::Writer).

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ephyr_names::Digest;
use ephyr_sandbox::look_at;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat};
use rustix::io::Errno;
use serde::Serialize;

use crate::chain::{self, Line, LineFault, Lines, Next};
use crate::error::{AuditError, OpenError};
use crate::torn::{self, Torn};

/// Which hash stands before the first line of a file, told from that line: zeros for a file that
/// begins a chain.
pub type FirstPrevious = fn(&Line<'_>) -> Digest;

/// [`FirstPrevious`] of a chain that is one file from its beginning.
#[must_use]
pub fn from_zero(_: &Line<'_>) -> Digest {
    Digest::ZERO
}

/// A chained file, open for appending and locked against a second writer.
#[derive(Debug)]
pub struct ChainFile {
    file: File,
    path: Arc<Path>,
    /// What is on disk.
    good: End,
    /// What will be there after the next [`ChainFile::sync`].
    staged: End,
    buffer: Vec<u8>,
    /// Behind the good length may stand part of a failed write.
    dirty: bool,
}

/// Where a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    length: u64,
    lines: u64,
    head: Digest,
}

/// How a chained file was found.
#[derive(Debug)]
pub struct ChainOpened {
    /// Whether it is new or was empty.
    pub created: bool,
    /// The unfinished last line that was put aside, if there was one.
    pub torn: Option<Torn>,
}

impl ChainFile {
    /// Opens or makes the file (mode 0640), locks it, and reads it through once: every line's hash is
    /// checked, then the line is shown to `visit`. An unfinished last line, as a crash leaves it, is
    /// moved to a file of its own beside it.
    ///
    /// # Errors
    /// [`OpenError`]: a symbolic link, a foreign owner, a second writer, a line that does not fit, or
    /// whatever `visit` finds wrong with one.
    pub fn open(
        path: &Path,
        first_previous: FirstPrevious,
        visit: &mut dyn FnMut(&Line<'_>) -> Result<(), LineFault>,
    ) -> Result<(Self, ChainOpened), OpenError> {
        let file = open_locked(path)?;
        let (good, whole) = read_through(&file, path, first_previous, visit)?;
        let torn = (!whole)
            .then(|| torn::put_aside(&file, path, good.length))
            .transpose()?;
        let opened = ChainOpened {
            created: good.lines == 0,
            torn,
        };
        Ok((Self::at(file, path, good), opened))
    }

    /// Makes a new file, which continues the chain after `previous`; used for rotation.
    pub(crate) fn create(path: &Path, previous: Digest) -> Result<Self, OpenError> {
        let file = open_file(path, OFlags::CREATE | OFlags::EXCL)?;
        lock(&file, path)?;
        let empty = End {
            length: 0,
            lines: 0,
            head: previous,
        };
        Ok(Self::at(file, path, empty))
    }

    fn at(file: File, path: &Path, good: End) -> Self {
        Self {
            file,
            path: path.into(),
            good,
            staged: good,
            buffer: Vec::new(),
            dirty: false,
        }
    }

    /// Stages a record for the next [`ChainFile::sync`] and gives its hash.
    ///
    /// # Errors
    /// [`AuditError::Record`] if it makes no line; what was staged before stays.
    pub fn append<T: Serialize + ?Sized>(&mut self, record: &T) -> Result<Digest, AuditError> {
        let body = chain::encode_body(record)?;
        Ok(self.append_body(&body))
    }

    /// Stages a body that [`chain::encode_body`] made.
    pub(crate) fn append_body(&mut self, body: &[u8]) -> Digest {
        let before = self.buffer.len();
        self.staged.head = chain::seal(self.staged.head, body, &mut self.buffer);
        self.staged.length += (self.buffer.len() - before) as u64;
        self.staged.lines += 1;
        self.staged.head
    }

    /// Writes all that is staged with one write and one fdatasync.
    ///
    /// # Errors
    /// Then nothing of it is in the file: what was written is cut off again, at once or before the
    /// next write, and what was staged is forgotten.
    pub fn sync(&mut self) -> Result<(), AuditError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self.write_staged();
        self.buffer.clear();
        self.buffer.shrink_to(256 * 1024);
        match result {
            Ok(()) => {
                self.good = self.staged;
                Ok(())
            }
            Err(error) => {
                self.staged = self.good;
                Err(error)
            }
        }
    }

    fn write_staged(&mut self) -> Result<(), AuditError> {
        self.check_place()?;
        let written = self
            .file
            .write_all(&self.buffer)
            .and_then(|()| self.file.sync_data());
        written.map_err(|e| {
            self.dirty = true;
            // If cutting fails too, the next write tries it again first.
            let _ = self.cut();
            self.failed(&e)
        })
    }

    /// Checks that the file is unchanged and still the one at its path: records written to any other file
    /// are lost when the process ends.
    ///
    /// # Errors
    /// [`AuditError::Changed`] or [`AuditError::Displaced`]; the system's error if the check itself
    /// fails.
    pub(crate) fn check_place(&mut self) -> Result<(), AuditError> {
        if self.dirty {
            self.cut().map_err(|e| self.failed(&e))?;
        }
        let found = look_at(&self.file, &self.path).map_err(|e| self.failed(&e))?;
        if found.length != self.good.length {
            return Err(AuditError::Changed {
                path: Arc::clone(&self.path),
                expected: self.good.length,
                found: found.length,
            });
        }
        match found.displaced {
            None => Ok(()),
            Some(how) => Err(AuditError::Displaced {
                path: Arc::clone(&self.path),
                how,
            }),
        }
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.good.length)?;
        self.dirty = false;
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> AuditError {
        AuditError::Write {
            path: Arc::clone(&self.path),
            kind: error.kind(),
            message: error.to_string().into(),
        }
    }

    /// The hash of the last line on disk; that before the first one where there is none.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.good.head
    }

    /// Lines on disk.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.good.lines
    }

    /// Bytes on disk.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.good.length
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// After the file was renamed.
    pub(crate) fn set_path(&mut self, path: &Path) {
        self.path = path.into();
    }
}

/// Opens the file for appending and makes sure that it is ours alone.
fn open_locked(path: &Path) -> Result<File, OpenError> {
    for _ in 0..10 {
        let file = match open_file(path, OFlags::empty()) {
            Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                match open_file(path, OFlags::CREATE | OFlags::EXCL) {
                    Err(OpenError::Io { source, .. })
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
        // Between opening and locking, the other writer may have rotated the file and ended.
        let (ours, there) = (file.metadata(), std::fs::symlink_metadata(path));
        if let (Ok(ours), Ok(there)) = (ours, there)
            && (ours.dev(), ours.ino()) == (there.dev(), there.ino())
        {
            return Ok(file);
        }
    }
    Err(OpenError::Locked(path.into()))
}

fn open_file(path: &Path, flags: OFlags) -> Result<File, OpenError> {
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
        Err(Errno::LOOP) => return Err(OpenError::Symlink(path.into())),
        Err(e) => return Err(OpenError::io("open", path)(e.into())),
    };
    let stat = fstat(&file).map_err(|e| OpenError::io("examine", path)(e.into()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(OpenError::NotRegular(path.into()));
    }
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != own {
        return Err(OpenError::ForeignOwner {
            path: path.into(),
            owner: stat.st_uid,
            own,
        });
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(OpenError::Writable {
            path: path.into(),
            mode: stat.st_mode & 0o7777,
        });
    }
    if flags.contains(OFlags::CREATE) {
        // The umask must not decide whether the group can read it.
        rustix::fs::fchmod(&file, mode)
            .map_err(|e| OpenError::io("set the mode of", path)(e.into()))?;
        sync_directory(path)?;
    }
    Ok(file)
}

/// Another writer may be about to end, or its lock be held for a moment by a child between fork and
/// exec; so a lock that is held is asked for again for a second.
fn lock(file: &File, path: &Path) -> Result<(), OpenError> {
    for _ in 0..50 {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(Duration::from_millis(20)),
            Err(e) => return Err(OpenError::io("lock", path)(e.into())),
        }
    }
    Err(OpenError::Locked(path.into()))
}

/// Makes a new or renamed file's name as lasting as its content.
pub(crate) fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    File::open(&directory)
        .and_then(|directory| directory.sync_all())
        .map_err(OpenError::io("sync the directory", &directory))
}

/// Checks the chain; gives where it ends, and whether the file ends there too.
fn read_through(
    file: &File,
    path: &Path,
    first_previous: FirstPrevious,
    visit: &mut dyn FnMut(&Line<'_>) -> Result<(), LineFault>,
) -> Result<(End, bool), OpenError> {
    let mut lines = Lines::new(BufReader::with_capacity(64 * 1024, file));
    let mut end = End {
        length: 0,
        lines: 0,
        head: Digest::ZERO,
    };
    loop {
        let fault = match lines.next().map_err(OpenError::io("read", path))? {
            Next::End => return Ok((end, true)),
            Next::Torn => return Ok((end, false)),
            Next::TooLong => Some(LineFault::TooLong),
            Next::Line(text) => Line::split(text)
                .and_then(|line| {
                    if end.lines == 0 {
                        end.head = first_previous(&line);
                    }
                    line.check(end.head)?;
                    end.head = line.hash();
                    visit(&line)
                })
                .err(),
        };
        end.lines += 1;
        end.length = lines.offset();
        if let Some(fault) = fault {
            return Err(OpenError::Broken {
                path: path.into(),
                line: end.lines,
                fault,
            });
        }
    }
}
