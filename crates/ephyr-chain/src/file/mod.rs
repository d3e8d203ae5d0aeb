//! A chained file with one writer: completely verified on opening, appended to in batches, and rolled back to the last
//! complete batch if a write fails. All calls block.

mod open;
mod torn;

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::Path;
use std::sync::Arc;

use ephyr_names::{Digest, Timestamp};
use ephyr_sandbox::look_at;
use serde::Serialize;

pub use self::torn::Torn;
use crate::error::{ChainOpenError, ChainWriteError};
use crate::line::{EncodedRecord, Line, LineFault};
use crate::lines::{Lines, NextLine};

/// Returns, from a file's first line, the hash of the line before it: zeros for a file that begins a chain.
pub type FirstPrevious = fn(&Line<'_>) -> Digest;

/// [`FirstPrevious`] of a chain that consists of one file.
#[must_use]
pub fn from_zero(_: &Line<'_>) -> Digest {
    Digest::ZERO
}

/// A chained file, open for appending and locked against a second writer.
#[derive(Debug)]
pub struct ChainFile {
    file: File,
    path: Arc<Path>,
    /// The end of the lines on disk.
    good: End,
    /// The end after the next [`ChainFile::sync`].
    staged: End,
    buffer: Vec<u8>,
    /// Whether part of a failed write may follow the good length.
    dirty: bool,
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    length: u64,
    lines: u64,
    head: Digest,
}

/// The state in which a chained file was opened.
#[derive(Debug)]
pub struct ChainOpened {
    /// Whether the file is new or was empty.
    pub created: bool,
    /// The incomplete last line that was moved aside, if there was one.
    pub torn: Option<Torn>,
}

impl ChainFile {
    /// Opens or creates the file (mode 0640), locks it, and reads it once: checks each line's hash, then passes the
    /// line to `visit`. An incomplete last line, as a crash leaves it, is moved to a file beside it, whose name
    /// contains the time `now`.
    ///
    /// # Errors
    /// [`ChainOpenError`]: a symbolic link, a foreign owner, a second writer, a line that does not follow the previous
    /// one, or a fault that `visit` found.
    pub fn open(
        path: &Path,
        now: Timestamp,
        first_previous: FirstPrevious,
        visit: &mut dyn FnMut(&Line<'_>) -> Result<(), LineFault>,
    ) -> Result<(Self, ChainOpened), ChainOpenError> {
        let file = open::open_locked(path)?;
        let (good, whole) = read_through(&file, path, first_previous, visit)?;
        let torn = (!whole)
            .then(|| torn::move_aside(&file, path, good.length, now))
            .transpose()?;
        let opened = ChainOpened {
            created: good.lines == 0,
            torn,
        };
        Ok((Self::at(file, path, good), opened))
    }

    /// Creates a file that continues the chain after `previous`, and locks it.
    ///
    /// # Errors
    /// [`ChainOpenError`]: the file exists already, or cannot be created or locked.
    pub fn create(path: &Path, previous: Digest) -> Result<Self, ChainOpenError> {
        let file = open::create_locked(path)?;
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

    /// Stages a record for the next [`ChainFile::sync`] and returns its hash.
    ///
    /// # Errors
    /// [`ChainWriteError::Record`] if it cannot be written as a line; previously staged records remain staged.
    pub fn append<T: Serialize + ?Sized>(&mut self, record: &T) -> Result<Digest, ChainWriteError> {
        Ok(self.append_encoded(&EncodedRecord::new(record)?))
    }

    /// Stages an encoded record and returns its hash.
    pub fn append_encoded(&mut self, record: &EncodedRecord) -> Digest {
        let before = self.buffer.len();
        self.staged.head = record.seal(self.staged.head, &mut self.buffer);
        self.staged.length += (self.buffer.len() - before) as u64;
        self.staged.lines += 1;
        self.staged.head
    }

    /// Writes all staged records with one write and one fdatasync.
    ///
    /// # Errors
    /// None of the records is in the file: a partial write is truncated, at once or before the next write, and the staged
    /// records are dropped.
    pub fn sync(&mut self) -> Result<(), ChainWriteError> {
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

    fn write_staged(&mut self) -> Result<(), ChainWriteError> {
        self.check_place()?;
        let written = self
            .file
            .write_all(&self.buffer)
            .and_then(|()| self.file.sync_data());
        written.map_err(|e| {
            self.dirty = true;
            // If truncating fails too, the next write truncates first.
            let _ = self.truncate();
            self.failed(&e)
        })
    }

    /// Checks that the file is unchanged and still the one at its path: records written to any other file
    /// are lost when the process ends.
    ///
    /// # Errors
    /// [`ChainWriteError::Changed`] or [`ChainWriteError::Displaced`]; the system's error if the check itself
    /// fails.
    pub fn check_place(&mut self) -> Result<(), ChainWriteError> {
        if self.dirty {
            self.truncate().map_err(|e| self.failed(&e))?;
        }
        let found = look_at(&self.file, &self.path).map_err(|e| self.failed(&e))?;
        if found.length != self.good.length {
            return Err(ChainWriteError::Changed {
                path: Arc::clone(&self.path),
                expected: self.good.length,
                found: found.length,
            });
        }
        match found.displaced {
            None => Ok(()),
            Some(how) => Err(ChainWriteError::Displaced {
                path: Arc::clone(&self.path),
                how,
            }),
        }
    }

    fn truncate(&mut self) -> io::Result<()> {
        self.file.set_len(self.good.length)?;
        self.dirty = false;
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> ChainWriteError {
        ChainWriteError::Io {
            path: Arc::clone(&self.path),
            kind: error.kind(),
            message: error.to_string().into(),
        }
    }

    /// Returns the hash of the last line on disk; for an empty file, the hash of the line before its first one.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.good.head
    }

    /// Returns the number of lines on disk.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.good.lines
    }

    /// Returns the number of bytes on disk.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.good.length
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open file, for reading.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Sets the path after the file was renamed.
    pub fn set_path(&mut self, path: &Path) {
        self.path = path.into();
    }
}

/// Verifies the chain. Returns its end, and whether the file ends there too.
fn read_through(
    file: &File,
    path: &Path,
    first_previous: FirstPrevious,
    visit: &mut dyn FnMut(&Line<'_>) -> Result<(), LineFault>,
) -> Result<(End, bool), ChainOpenError> {
    let mut lines = Lines::new(BufReader::with_capacity(64 * 1024, file));
    let mut end = End {
        length: 0,
        lines: 0,
        head: Digest::ZERO,
    };
    loop {
        let fault = match lines
            .read_next()
            .map_err(ChainOpenError::io("read", path))?
        {
            NextLine::End => return Ok((end, true)),
            NextLine::Torn => return Ok((end, false)),
            NextLine::TooLong => Some(LineFault::TooLong),
            NextLine::Line(text) => Line::split(text)
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
            return Err(ChainOpenError::Broken {
                path: path.into(),
                line: end.lines,
                fault,
            });
        }
    }
}
