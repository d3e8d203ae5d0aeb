//! The state journal: an append-only file on tmpfs. Every change is written to it before it is answered, so that a
//! restart, a crash or an upgrade loses no answered change. [`frames`](super::frames) documents its format.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ephyr_sandbox::{Displaced, look_at};
use rustix::fs::OFlags;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::frames::{Frame, Frames, HEADER};

const FILE_NAME: &str = "state.journal";
const NEW_NAME: &str = "state.journal.new";
const DAMAGED_NAME: &str = "state.journal.damaged";

/// An open journal.
pub(super) struct Journal {
    dir: PathBuf,
    file: File,
    len: u64,
    /// Set when an append failed and the file could not be cut back to `len`.
    broken: bool,
}

/// The contents of the journal when it was opened.
pub(super) enum JournalContents<E> {
    /// No journal: a first start, or one after a reboot.
    Missing,
    /// All answered changes.
    Entries(Vec<E>),
    /// The journal is damaged, and why.
    Damaged(String),
}

impl Journal {
    /// Opens the journal of a directory for appending and returns its contents. A damaged one is renamed to
    /// `state.journal.damaged`.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub(super) fn open<E: DeserializeOwned>(dir: &Path) -> io::Result<(Self, JournalContents<E>)> {
        let path = dir.join(FILE_NAME);
        let mut bytes = Zeroizing::new(Vec::new());
        match open_file(&path, false) {
            Ok(mut file) => {
                file.read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::create(dir)?, JournalContents::Missing));
            }
            Err(error) => return Err(error),
        }
        let read = Frames::read(&bytes).and_then(|frames| Ok((frames.entries()?, frames)));
        match read {
            Ok((entries, frames)) => {
                if frames.version == 1 {
                    rewrite(dir, &frames.payloads)?;
                }
                let file = open_file(&path, true)?;
                let len = frames.current_len();
                file.set_len(len)?;
                Ok((
                    Self {
                        dir: dir.to_owned(),
                        file,
                        len,
                        broken: false,
                    },
                    JournalContents::Entries(entries),
                ))
            }
            Err(why) => {
                std::fs::rename(&path, dir.join(DAMAGED_NAME))?;
                Ok((Self::create(dir)?, JournalContents::Damaged(why)))
            }
        }
    }

    fn create(dir: &Path) -> io::Result<Self> {
        let mut file = open_file(&dir.join(FILE_NAME), true)?;
        file.set_len(0)?;
        file.write_all(HEADER)?;
        Ok(Self {
            dir: dir.to_owned(),
            file,
            len: HEADER.len() as u64,
            broken: false,
        })
    }

    /// Returns the length of the journal, in bytes.
    #[must_use]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends one entry.
    ///
    /// # Errors
    /// The entry cannot be written completely; the journal is unchanged.
    pub(super) fn append<E: Serialize>(&mut self, entry: &E) -> io::Result<()> {
        self.append_frame(&Frame::encode(entry)?)
    }

    /// Appends an encoded entry. Encoding before taking the journal's lock keeps the lock short.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub(super) fn append_frame(&mut self, frame: &Frame) -> io::Result<()> {
        if let Some(how) = self.displaced()? {
            return Err(io::Error::other(format!(
                "{} was {how} while in use; it is rewritten from memory within a second, so retry",
                self.dir.join(FILE_NAME).display()
            )));
        }
        if self.broken {
            self.file.set_len(self.len)?;
            self.broken = false;
        }
        match self.file.write_all(frame.bytes()) {
            Ok(()) => {
                self.len += frame.bytes().len() as u64;
                Ok(())
            }
            Err(error) => {
                self.broken = self.file.set_len(self.len).is_err();
                Err(error)
            }
        }
    }

    /// Returns how the file was displaced if it is no longer the one at its path: a restart would not find data
    /// written to it.
    ///
    /// # Errors
    /// The check itself fails.
    pub(super) fn displaced(&self) -> io::Result<Option<Displaced>> {
        Ok(look_at(&self.file, &self.dir.join(FILE_NAME))?.displaced)
    }

    /// Returns a handle to read what is appended during a rewrite.
    ///
    /// # Errors
    /// No descriptor is available.
    pub(super) fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Returns the directory of the journal.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Completes the successor with the entries appended meanwhile and atomically replaces this journal with it.
    ///
    /// # Errors
    /// The successor cannot be written; the old journal stays in use.
    pub(super) fn replace(&mut self, new: Successor) -> io::Result<()> {
        let mut new = new;
        new.follow(self.len)?;
        let file = new
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        if self.displaced()? == Some(Displaced::Replaced) {
            // Do not destroy a foreign file at the path.
            std::fs::rename(self.dir.join(FILE_NAME), self.dir.join(DAMAGED_NAME))?;
        }
        std::fs::rename(self.dir.join(NEW_NAME), self.dir.join(FILE_NAME))?;
        (self.file, self.len, self.broken) = (file, new.len, false);
        Ok(())
    }
}

/// A compacted journal, written while the old one stays in use.
pub(super) struct Successor {
    out: io::BufWriter<File>,
    len: u64,
    old: File,
    /// Length of the part of the old journal that the new one covers.
    followed: u64,
}

impl Successor {
    /// Writes `entries`, which replace the first `mark` bytes of the journal in `dir`, whose file is `old`. They may
    /// include later changes, since the rest is replayed after them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write<E: Serialize>(
        dir: &Path,
        old: File,
        mark: u64,
        entries: impl Iterator<Item = E>,
    ) -> io::Result<Self> {
        let file = open_file(&dir.join(NEW_NAME), true)?;
        file.set_len(0)?;
        let mut out = io::BufWriter::with_capacity(64 * 1024, file);
        let mut len = HEADER.len() as u64;
        out.write_all(HEADER)?;
        for entry in entries {
            let frame = Frame::encode(&entry)?;
            len += frame.bytes().len() as u64;
            out.write_all(frame.bytes())?;
        }
        Ok(Self {
            out,
            len,
            old,
            followed: mark,
        })
    }

    /// Copies the old journal's entries from `followed` to `end`.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(super) fn follow(&mut self, end: u64) -> io::Result<()> {
        let mut chunk = Zeroizing::new(vec![0; 64 * 1024]);
        while self.followed < end {
            let left = usize::try_from(end - self.followed).unwrap_or(usize::MAX);
            let most = left.min(chunk.len());
            let part = &mut chunk[..most];
            self.old.read_exact_at(part, self.followed)?;
            self.out.write_all(part)?;
            self.followed += most as u64;
            self.len += most as u64;
        }
        Ok(())
    }
}

/// Opens a regular file for reading, or for appending and reading. Does not follow links and does not block on a
/// FIFO.
pub(super) fn open_file(path: &Path, write: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true);
    if write {
        options.append(true).create(true).mode(0o600);
    }
    let file = options
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)?;
    if !file.metadata()?.is_file() {
        let why = format!("{} is not a regular file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(file)
}

/// Rewrites a journal of an earlier version with the same entries, before anything is appended.
fn rewrite(dir: &Path, payloads: &[(usize, &[u8])]) -> io::Result<()> {
    let new = dir.join(NEW_NAME);
    let file = open_file(&new, true)?;
    file.set_len(0)?;
    let mut out = io::BufWriter::with_capacity(64 * 1024, file);
    out.write_all(HEADER)?;
    for (_, payload) in payloads {
        out.write_all(Frame::of_payload(payload)?.bytes())?;
    }
    out.flush()?;
    std::fs::rename(new, dir.join(FILE_NAME))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::super::frames::{HEAD, HEADER_1};
    use super::*;

    fn entries(dir: &Path) -> Result<Vec<String>, String> {
        match Journal::open::<String>(dir).unwrap().1 {
            JournalContents::Missing => Ok(Vec::new()),
            JournalContents::Entries(entries) => Ok(entries),
            JournalContents::Damaged(why) => Err(why),
        }
    }

    fn filled() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open::<String>(dir.path()).unwrap().0;
        for entry in ["one", "two", "three"] {
            journal.append(&entry).unwrap();
        }
        dir
    }

    fn edit(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let path = dir.join(FILE_NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
    }

    #[test]
    fn reopened_journal_has_all_entries_and_can_be_appended_to() {
        let dir = filled();
        Journal::open::<String>(dir.path())
            .unwrap()
            .0
            .append(&"four")
            .unwrap();
        assert_eq!(
            entries(dir.path()).unwrap(),
            ["one", "two", "three", "four"]
        );
    }

    #[test]
    fn incomplete_last_frame_is_cut_off() {
        for cut in 1..HEAD + 7 {
            let dir = filled();
            edit(dir.path(), |bytes| bytes.truncate(bytes.len() - cut));
            let mut journal = Journal::open::<String>(dir.path()).unwrap().0;
            journal.append(&"next").unwrap();
            assert_eq!(
                entries(dir.path()).unwrap(),
                ["one", "two", "next"],
                "cut {cut}"
            );
        }
    }

    #[test]
    fn any_other_damage_invalidates_the_journal() {
        for at in [
            0,
            HEADER.len() - 2,
            HEADER.len(),
            HEADER.len() + 5,
            HEADER.len() + 9,
            HEADER.len() + 13,
        ] {
            let dir = filled();
            edit(dir.path(), |bytes| bytes[at] ^= 0x55);
            assert!(entries(dir.path()).is_err(), "byte {at}");
            assert!(dir.path().join("state.journal.damaged").exists());
            assert_eq!(
                entries(dir.path()).unwrap(),
                [""; 0],
                "a new journal is created"
            );
        }
    }

    #[test]
    fn newer_journal_version_is_refused() {
        let dir = filled();
        edit(dir.path(), |bytes| bytes[HEADER.len() - 2] = b'3');
        assert!(
            entries(dir.path())
                .unwrap_err()
                .contains("ephyr-broker-state 3")
        );
    }

    #[test]
    fn wrong_length_is_damage_not_an_incomplete_frame() {
        // Flip each bit of each frame's length, including the last frame's.
        let starts: Vec<usize> =
            ["\"one\"", "\"two\""]
                .iter()
                .fold(vec![HEADER.len()], |mut starts, entry| {
                    starts.push(starts[starts.len() - 1] + HEAD + entry.len());
                    starts
                });
        for start in starts {
            for bit in 0..32 {
                let dir = filled();
                edit(dir.path(), |bytes| bytes[start + bit / 8] ^= 1 << (bit % 8));
                let why = entries(dir.path()).unwrap_err();
                assert!(why.contains("length's checksum"), "{start} {bit}: {why}");
            }
        }
    }

    /// Returns a version 1 journal.
    fn version_1(entries: &[&str]) -> Vec<u8> {
        let mut bytes = HEADER_1.to_vec();
        for entry in entries {
            let payload = serde_json::to_vec(entry).unwrap();
            bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
            bytes.extend(&Sha256::digest(&payload)[..4]);
            bytes.extend(payload);
        }
        bytes
    }

    #[test]
    fn version_1_journal_is_read_and_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let mut before = version_1(&["one", "two", "torn"]);
        before.pop();
        std::fs::write(&path, &before).unwrap();
        let (mut journal, found) = Journal::open::<String>(dir.path()).unwrap();
        assert!(matches!(found, JournalContents::Entries(entries) if entries == ["one", "two"]));
        assert!(std::fs::read(&path).unwrap().starts_with(HEADER));
        journal.append(&"three").unwrap();
        assert_eq!(entries(dir.path()).unwrap(), ["one", "two", "three"]);
        // A damaged version 1 journal is refused too.
        before[HEADER_1.len() + 6] ^= 1;
        std::fs::write(&path, &before).unwrap();
        assert!(entries(dir.path()).is_err());
    }

    #[test]
    fn displaced_journal_is_not_appended_to() {
        let dir = filled();
        let path = dir.path().join(FILE_NAME);
        let mut journal = Journal::open::<String>(dir.path()).unwrap().0;
        std::fs::rename(&path, dir.path().join("away")).unwrap();
        let why = journal.append(&"four").unwrap_err().to_string();
        assert!(why.contains("was renamed"), "{why}");
        std::fs::write(&path, "another program's").unwrap();
        assert!(journal.append(&"four").is_err());
        // After a rewrite the journal continues, and the foreign file is kept.
        let all = ["one", "two", "three"];
        let old = journal.reader().unwrap();
        let new = Successor::write(dir.path(), old, journal.len(), all.iter()).unwrap();
        journal.replace(new).unwrap();
        journal.append(&"four").unwrap();
        assert_eq!(
            entries(dir.path()).unwrap(),
            ["one", "two", "three", "four"]
        );
        let kept = std::fs::read_to_string(dir.path().join(DAMAGED_NAME)).unwrap();
        assert_eq!(kept, "another program's");
    }

    #[test]
    fn compaction_keeps_entries_appended_meanwhile() {
        let dir = filled();
        let mut journal = Journal::open::<String>(dir.path()).unwrap().0;
        let before = journal.len();
        let old = journal.reader().unwrap();
        let mut new = Successor::write(dir.path(), old, before, ["two"].iter()).unwrap();
        for meanwhile in ["four", "five"] {
            journal.append(&meanwhile).unwrap();
            new.follow(journal.len()).unwrap();
        }
        journal.append(&"six").unwrap();
        journal.replace(new).unwrap();
        let len = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().len();
        assert_eq!(journal.len(), len);
        journal.append(&"seven").unwrap();
        let kept = entries(dir.path()).unwrap();
        assert_eq!(kept, ["two", "four", "five", "six", "seven"]);
    }

    #[test]
    fn file_is_private_and_links_and_fifos_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = filled();
        let path = dir.path().join(FILE_NAME);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(Journal::open::<String>(dir.path()).is_err());
        std::fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(
            Journal::open::<String>(dir.path()).is_err(),
            "a FIFO must be refused without blocking"
        );
    }
}
