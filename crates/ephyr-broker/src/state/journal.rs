//! The state journal: an append-only file on tmpfs that is written before an answer goes out, so that a
//! restart, a crash or an upgrade loses nothing that was answered.
//!
//! Format (version 1): the line `ephyr-broker-state 1`, then frames of `u32be length`, `first 4 bytes of
//! SHA-256(payload)`, `payload` (compact JSON of [`Entry`]). An incomplete last frame is what a kill in the
//! middle of a write leaves; its answer never went out, so it is cut off. Any other damage, or a newer
//! version, makes the whole journal worthless: the broker starts a fresh epoch and all tokens are dead.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const HEADER: &[u8] = b"ephyr-broker-state 1\n";
const FILE_NAME: &str = "state.journal";
const NEW_NAME: &str = "state.journal.new";
/// No entry comes near this; a greater length is damage.
const MAX_FRAME: usize = 1 << 20;

/// An open journal.
pub(super) struct Journal {
    dir: PathBuf,
    file: File,
    len: u64,
    /// Set when an append failed and the file could not be cut back to `len`.
    broken: bool,
}

/// What was found on opening.
pub(super) enum Found<E> {
    /// No journal: a first start, or one after a reboot.
    Nothing,
    /// All entries that were ever answered.
    Entries(Vec<E>),
    /// A journal that cannot be trusted, and why.
    Damaged(String),
}

impl Journal {
    /// Reads what the directory holds and opens the journal for appending. A damaged one is set aside as
    /// `state.journal.damaged`, still on the tmpfs.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub(super) fn open<E: DeserializeOwned>(dir: &Path) -> io::Result<(Self, Found<E>)> {
        let path = dir.join(FILE_NAME);
        let mut bytes = Zeroizing::new(Vec::new());
        match open_file(&path, false) {
            Ok(mut file) => {
                file.read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::create(dir)?, Found::Nothing));
            }
            Err(error) => return Err(error),
        }
        match decode(&bytes) {
            Ok((entries, good)) => {
                let file = open_file(&path, true)?;
                file.set_len(good)?;
                Ok((
                    Self {
                        dir: dir.to_owned(),
                        file,
                        len: good,
                        broken: false,
                    },
                    Found::Entries(entries),
                ))
            }
            Err(why) => {
                std::fs::rename(&path, dir.join("state.journal.damaged"))?;
                Ok((Self::create(dir)?, Found::Damaged(why)))
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

    /// Bytes in the journal.
    #[must_use]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends one entry with one write.
    ///
    /// # Errors
    /// When it could not be written whole; the journal then is as it was before.
    pub(super) fn append<E: Serialize>(&mut self, entry: &E) -> io::Result<()> {
        self.append_frame(&Frame::of(entry)?)
    }

    /// The same for an entry that was encoded before, so that whoever shares the journal waits for the write
    /// alone.
    ///
    /// # Errors
    /// As for [`Journal::append`].
    pub(super) fn append_frame(&mut self, frame: &Frame) -> io::Result<()> {
        if self.broken {
            self.file.set_len(self.len)?;
            self.broken = false;
        }
        match self.file.write_all(&frame.0) {
            Ok(()) => {
                self.len += frame.0.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.broken = self.file.set_len(self.len).is_err();
                Err(error)
            }
        }
    }

    /// From here on nothing can be written.
    #[cfg(test)]
    pub(super) fn make_unwritable(&mut self) {
        self.file = File::open(self.dir.join(FILE_NAME)).unwrap();
    }

    /// The directory that it lies in.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Goes on with the journal that was written meanwhile, atomically, once it has what was appended here
    /// since it was begun.
    ///
    /// # Errors
    /// When it could not be written; the old one then goes on.
    pub(super) fn replace(&mut self, new: Successor) -> io::Result<()> {
        let mut new = new;
        new.follow(self.len)?;
        let file = new
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        std::fs::rename(self.dir.join(NEW_NAME), self.dir.join(FILE_NAME))?;
        (self.file, self.len, self.broken) = (file, new.len, false);
        Ok(())
    }
}

/// A shorter journal that is being written while the old one goes on.
pub(super) struct Successor {
    out: io::BufWriter<File>,
    len: u64,
    old: File,
    /// Up to where the old one's entries are in the new one.
    followed: u64,
}

impl Successor {
    /// Writes `entries`, which stand for the first `mark` bytes of the journal in `dir`. They may say more
    /// already, since what follows is read again after them.
    ///
    /// # Errors
    /// When it could not be written.
    pub(super) fn write<E: Serialize>(
        dir: &Path,
        mark: u64,
        entries: impl Iterator<Item = E>,
    ) -> io::Result<Self> {
        let old = open_file(&dir.join(FILE_NAME), false)?;
        let file = open_file(&dir.join(NEW_NAME), true)?;
        file.set_len(0)?;
        let mut out = io::BufWriter::with_capacity(64 * 1024, file);
        let mut len = HEADER.len() as u64;
        out.write_all(HEADER)?;
        for entry in entries {
            let frame = Frame::of(&entry)?;
            len += frame.0.len() as u64;
            out.write_all(&frame.0)?;
        }
        Ok(Self {
            out,
            len,
            old,
            followed: mark,
        })
    }

    /// Copies what the old journal has between there and `end`.
    ///
    /// # Errors
    /// When it cannot be read or written.
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

pub(super) fn open_file(path: &Path, write: bool) -> io::Result<File> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    if write {
        options.append(true).create(true).mode(0o600);
    } else {
        options.read(true);
    }
    options.custom_flags(no_follow).open(path)
}

/// An entry as it stands in the journal.
pub(super) struct Frame(Zeroizing<Vec<u8>>);

impl Frame {
    /// Encodes an entry.
    ///
    /// # Errors
    /// When it is longer than any entry may be.
    pub(super) fn of<E: Serialize>(entry: &E) -> io::Result<Self> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(768));
        bytes.extend_from_slice(&[0; 8]);
        serde_json::to_writer(&mut *bytes, entry)?;
        let payload = bytes.len() - 8;
        let length = u32::try_from(payload).ok().filter(|_| payload <= MAX_FRAME);
        let length = length.ok_or_else(|| io::Error::other("state entry too large"))?;
        let sum = Sha256::digest(&bytes[8..]);
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&sum[..4]);
        Ok(Self(bytes))
    }
}

/// Gives the entries and how many bytes of `bytes` are good.
fn decode<E: DeserializeOwned>(bytes: &[u8]) -> Result<(Vec<E>, u64), String> {
    let Some(mut rest) = bytes.strip_prefix(HEADER) else {
        let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let first = String::from_utf8_lossy(&first[..first.len().min(40)]).into_owned();
        return Err(format!(
            "it does not begin with `ephyr-broker-state 1` but with {first:?}"
        ));
    };
    let mut entries = Vec::new();
    let mut at = HEADER.len();
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, sum @ ..] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_FRAME {
            return Err(format!("byte {at}: impossible length {length}"));
        }
        let Some((payload, next)) = tail.split_at_checked(length) else {
            break;
        };
        if Sha256::digest(payload)[..4] != sum {
            return Err(format!("byte {at}: checksum does not match"));
        }
        let entry =
            serde_json::from_slice(payload).map_err(|_| format!("byte {at}: unknown entry"))?;
        entries.push(entry);
        at += 8 + length;
        rest = next;
    }
    Ok((entries, at as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> Result<Vec<String>, String> {
        match Journal::open::<String>(dir).unwrap().1 {
            Found::Nothing => Ok(Vec::new()),
            Found::Entries(entries) => Ok(entries),
            Found::Damaged(why) => Err(why),
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
    fn what_was_appended_is_there_after_a_restart_and_can_be_added_to() {
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
    fn an_incomplete_last_frame_is_cut_and_the_rest_kept() {
        for cut in 1..13 {
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
    fn any_other_damage_makes_the_journal_worthless() {
        for at in [
            0,
            HEADER.len() - 2,
            HEADER.len(),
            HEADER.len() + 5,
            HEADER.len() + 9,
        ] {
            let dir = filled();
            edit(dir.path(), |bytes| bytes[at] ^= 0x55);
            assert!(entries(dir.path()).is_err(), "byte {at}");
            assert!(dir.path().join("state.journal.damaged").exists());
            assert_eq!(entries(dir.path()).unwrap(), [""; 0], "a fresh one follows");
        }
    }

    #[test]
    fn a_newer_version_is_not_guessed_at() {
        let dir = filled();
        edit(dir.path(), |bytes| bytes[HEADER.len() - 2] = b'2');
        assert!(
            entries(dir.path())
                .unwrap_err()
                .contains("ephyr-broker-state 2")
        );
    }

    #[test]
    fn compaction_keeps_what_it_is_given_and_all_that_is_appended_meanwhile() {
        let dir = filled();
        let mut journal = Journal::open::<String>(dir.path()).unwrap().0;
        let before = journal.len();
        let mut new = Successor::write(dir.path(), before, ["two"].iter()).unwrap();
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
    fn the_file_is_for_its_owner_alone_and_no_link_is_followed() {
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
    }
}
