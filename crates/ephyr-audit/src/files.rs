//! The files of one log: the current one and those rotated away, `<log>.<log id>.<records before it>`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ephyr_chain::beside::{directory, with_suffix};
use ephyr_chain::{Checkpoint, Fold, Line, LineFault, Lines, NextLine};
use ephyr_names::{Digest, RecordId};
use ephyr_sandbox::open_regular;

use crate::event::Event;
use crate::record::{LogLink, Record};

/// Returns the files of the log at `path`, oldest first and `path` last, as [`verify`](crate::verify()) and
/// [`query`](crate::query()) expect them. Files of an earlier log with the same name are not included. If the file does
/// not begin with a log's first record, it is returned alone.
///
/// # Errors
/// The file or its directory cannot be read.
pub fn log_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let older = match link_of(path) {
        Ok(link) => rotated(path, link.log)?,
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Vec::new(),
        Err(e) => return Err(e),
    };
    let older = older.into_iter().map(|(_, file)| file);
    Ok(older.chain([path.to_path_buf()]).collect())
}

/// Returns the name of a rotated file whose first record has the number `first` (from 0).
pub(crate) fn rotated_name(path: &Path, log: RecordId, first: u64) -> PathBuf {
    with_suffix(path, &format!(".{log}.{first:012}"))
}

/// Returns the temporary name under which the next file is written.
pub(crate) fn next_name(path: &Path) -> PathBuf {
    with_suffix(path, ".next")
}

/// Returns whether both paths are names of one file.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    let (one, other) = (
        std::fs::symlink_metadata(one),
        std::fs::symlink_metadata(other),
    );
    matches!((one, other), (Ok(one), Ok(other)) if (one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Returns the path of the file with the last checkpoint, for shipping elsewhere.
#[must_use]
pub fn checkpoint_file(path: &Path) -> PathBuf {
    with_suffix(path, ".checkpoint")
}

/// Returns the rotated files of this log, each with the number of records before it.
fn rotated(path: &Path, log: RecordId) -> io::Result<Vec<(u64, PathBuf)>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the log's name is not UTF-8 text",
        ));
    };
    let prefix = format!("{name}.{log}.");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory(path))? {
        let entry = entry?;
        let first = entry
            .file_name()
            .to_str()
            .and_then(|file| file.strip_prefix(&prefix))
            .filter(|digits| digits.len() >= 12 && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        if let Some(first) = first {
            found.push((first, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Parses the first line of a file, which links it to its log.
pub(crate) fn opening(line: &Line<'_>) -> Result<LogLink, LineFault> {
    let bad = |why: &str| LineFault::NotARecord(why.into());
    let record: Record = line.parse()?;
    let link = record.log.ok_or_else(|| {
        bad("a file begins with log_opened or log_continued; the beginning was removed")
    })?;
    let begins = link.count == 0 && link.previous == Digest::ZERO && link.log == record.id;
    let empty_head = Fold::new(link.log).head() == link.head;
    match record.event {
        Event::LogOpened if begins && empty_head => Ok(link),
        Event::LogContinued if link.count > 0 => Ok(link),
        _ => Err(bad("the log's first record contradicts itself")),
    }
}

/// The [`FirstPrevious`](ephyr_chain::FirstPrevious) of the audit log's files.
pub(crate) fn previous_of(line: &Line<'_>) -> Digest {
    opening(line).map_or(Digest::ZERO, |link| link.previous)
}

/// Reads the hashes of the records from `from` up to `durable` from the log, at most `max`.
pub(crate) fn read_hashes(
    path: &Path,
    from: u64,
    durable: u64,
    max: usize,
) -> io::Result<Vec<Digest>> {
    let current = link_of(path)?;
    let mut files = rotated(path, current.log)?;
    files.push((current.count, path.into()));
    let mut hashes = Vec::new();
    let mut next = from;
    for (at, (first, file)) in files.iter().enumerate() {
        let is_before = files.get(at + 1).is_some_and(|(after, _)| *after <= next);
        if is_before {
            continue;
        }
        let mut number = *first;
        let mut lines = Lines::new(BufReader::new(open_regular(file)?));
        while let NextLine::Line(text) = lines.read_next()? {
            if number > next || number >= durable || hashes.len() >= max {
                return Ok(hashes);
            }
            if number == next {
                let line = Line::split(text).map_err(invalid)?;
                hashes.push(line.hash());
                next += 1;
            }
            number += 1;
        }
    }
    Ok(hashes)
}

/// Reads the link in the file's first line.
fn link_of(path: &Path) -> io::Result<LogLink> {
    match Lines::new(BufReader::new(open_regular(path)?)).read_next()? {
        NextLine::Line(text) => Line::split(text)
            .and_then(|line| opening(&line))
            .map_err(invalid),
        _ => Err(invalid(LineFault::Unterminated)),
    }
}

/// Returns the last checkpoint in the files before the one with this link.
pub(crate) fn checkpoint_before(path: &Path, link: LogLink) -> io::Result<Option<Checkpoint>> {
    let mut files = rotated(path, link.log)?;
    files.retain(|(start, _)| *start < link.count);
    while let Some((_, file)) = files.pop() {
        let mut last = None;
        let mut lines = Lines::new(BufReader::new(open_regular(&file)?));
        while let NextLine::Line(text) = lines.read_next()? {
            let line = Line::split(text).map_err(invalid)?;
            last = checkpoint_in(&line).map_err(invalid)?.or(last);
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// Returns the line's checkpoint, if it is a checkpoint record.
pub(crate) fn checkpoint_in(line: &Line<'_>) -> Result<Option<Checkpoint>, LineFault> {
    // Inside a string the quotes would be escaped, so these bytes can only be the field itself.
    const FIELD: &[u8] = br#""event":"checkpoint""#;
    // The event follows id, time and severity, which are short.
    let start = &line.text()[..line.text().len().min(160)];
    if !start.windows(FIELD.len()).any(|bytes| bytes == FIELD) {
        return Ok(None);
    }
    let record: Record = line.parse()?;
    match record.checkpoint {
        Some(checkpoint) if record.event == Event::Checkpoint => Ok(Some(*checkpoint)),
        _ => Err(LineFault::NotARecord(
            "a checkpoint without its content".into(),
        )),
    }
}

fn invalid(fault: LineFault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

/// Replaces the checkpoint file beside the log.
pub(crate) fn write_checkpoint_file(path: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    let (file, next) = (checkpoint_file(path), with_suffix(path, ".checkpoint.next"));
    let mut out: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&next)?;
    let mut line = serde_json::to_vec(checkpoint)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.sync_data()?;
    std::fs::rename(&next, &file)
}
