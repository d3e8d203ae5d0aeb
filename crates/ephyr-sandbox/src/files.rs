//! Files that other programs can change: configuration, which is read completely without blocking, and files that
//! a daemon keeps open, which may be removed, renamed or replaced.
//!
//! Uses only system calls that take a directory (`openat`, `newfstatat`, `readlinkat`): the signer's filter does not
//! allow the older ones.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

/// The file was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum RefusedFile {
    /// The path is not a regular file.
    #[error("it is {0}; only a regular file is read")]
    NotRegular(&'static str),
    /// The file is longer than the limit.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
}

impl From<RefusedFile> for io::Error {
    fn from(why: RefusedFile) -> Self {
        Self::new(io::ErrorKind::InvalidInput, why)
    }
}

/// Opens a regular file, or a link to one, for reading. Never blocks, as opening a FIFO would.
///
/// # Errors
/// The system's error, or the path is a FIFO, a directory, a socket or a device.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Check before opening: a socket cannot be opened, and opening a device can have an effect.
    require_regular(&statat(CWD, path, AtFlags::empty())?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    // Check again: the name may have been reused since.
    require_regular(&fstat(&file)?)?;
    Ok(file)
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open_regular`], or the file is longer.
pub fn read_regular(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    read_at_most(&open_regular(path)?, most)
}

/// Reads a regular file of at most `most` bytes as UTF-8.
///
/// # Errors
/// As [`read_regular`], or the content is not UTF-8.
pub fn read_regular_text(path: &Path, most: usize) -> io::Result<String> {
    let bytes = read_regular(path, most)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Reads the rest of a file, at most `most` bytes.
///
/// # Errors
/// The system's error, or the rest is longer.
pub fn read_at_most(file: &File, most: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let expected = usize::try_from(file.metadata()?.len()).unwrap_or(most);
    // Allocated at full size: growing the buffer would leave copies of a secret in freed memory.
    let mut bytes = Vec::with_capacity(expected.min(most).saturating_add(1));
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(RefusedFile::TooLong(most).into());
    }
    Ok(bytes)
}

fn require_regular(stat: &Stat) -> Result<(), RefusedFile> {
    Err(RefusedFile::NotRegular(
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return Ok(()),
            FileType::Fifo => "a FIFO",
            FileType::Directory => "a directory",
            FileType::Socket => "a socket",
            FileType::CharacterDevice => "a character device",
            FileType::BlockDevice => "a block device",
            _ => "not a file",
        },
    ))
}

/// A name looked up during path resolution: a directory, a symbolic link, or the file itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its path, without links.
    pub path: PathBuf,
    /// Its metadata.
    pub metadata: Metadata,
}

/// The metadata that decides who can change a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Its type and permission bits (`st_mode`, inode(7)).
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its device and inode, which identify the file.
    pub id: (u64, u64),
}

impl Metadata {
    /// Returns the metadata of an open file.
    ///
    /// # Errors
    /// The system's error.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::new(&fstat(file)?))
    }

    fn new(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            id: (stat.st_dev, stat.st_ino),
        }
    }

    /// Returns whether the file is a symbolic link.
    #[must_use]
    pub fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Symlink
    }
}

/// Maximum number of links that the kernel follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Returns every name that the kernel looks up to resolve `path`, from the root, the file itself last. A user who can
/// write one of these directories, or replace one of these links, can substitute another file.
///
/// # Errors
/// The system's error, or more than 40 links.
pub fn steps_to(path: &Path) -> io::Result<Vec<Step>> {
    let mut ahead: Vec<PathBuf> = components_backwards(&std::path::absolute(path)?);
    let mut at = PathBuf::new();
    let mut steps = Vec::new();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == Path::new("..") {
            at.pop();
            continue;
        }
        let next = at.join(name);
        let metadata = Metadata::new(&statat(CWD, &next, AtFlags::SYMLINK_NOFOLLOW)?);
        steps.push(Step {
            path: next.clone(),
            metadata,
        });
        if !metadata.is_link() {
            at = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = readlinkat(CWD, &next, Vec::new())?;
        // An absolute target replaces the path joined so far.
        ahead.extend(components_backwards(Path::new(OsStr::from_bytes(
            target.as_bytes(),
        ))));
    }
    Ok(steps)
}

fn components_backwards(path: &Path) -> Vec<PathBuf> {
    let names = path
        .components()
        .filter(|name| *name != Component::CurDir)
        .map(|name| PathBuf::from(name.as_os_str()));
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

/// The way in which an open file is no longer the one at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Displaced {
    /// The file has no name any more and is lost when closed.
    Removed,
    /// Nothing is at the path; the file has another name.
    Renamed,
    /// Another file is at the path.
    Replaced,
}

impl Displaced {
    /// Returns the name used in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Renamed => "renamed",
            Self::Replaced => "replaced",
        }
    }
}

impl fmt::Display for Displaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The state of an open file at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFile {
    /// Its length in bytes.
    pub length: u64,
    /// How it was displaced, if it is no longer the file at its path. An additional hard link does not matter:
    /// data is still found at the path.
    pub displaced: Option<Displaced>,
}

/// Compares an open file with the one at its path, with two system calls.
///
/// # Errors
/// The system's error when examining the path.
pub fn look_at(file: impl AsFd, path: &Path) -> io::Result<OpenFile> {
    let own = fstat(file)?;
    let displaced = match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino) => None,
        Ok(_) => Some(Displaced::Replaced),
        Err(Errno::NOENT | Errno::NOTDIR) if own.st_nlink == 0 => Some(Displaced::Removed),
        Err(Errno::NOENT | Errno::NOTDIR) => Some(Displaced::Renamed),
        Err(why) => return Err(why.into()),
    };
    Ok(OpenFile {
        length: u64::try_from(own.st_size).unwrap_or(0),
        displaced,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::mknodat;

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_nothing_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        assert_eq!(read_regular(&at("file"), 4).unwrap(), b"text");
        assert_eq!(read_regular_text(&at("link"), 4).unwrap(), "text");
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
        symlink(at("fifo"), at("to-fifo")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (path, kind) in [
            (at("fifo"), "a FIFO"),
            (at("to-fifo"), "a FIFO"),
            (at("socket"), "a socket"),
            (dir.path().to_owned(), "a directory"),
            ("/dev/zero".into(), "a character device"),
        ] {
            let why = read_regular(&path, 10).unwrap_err().to_string();
            assert!(why.contains(kind), "{path:?}: {why}");
        }
        let missing = read_regular(&at("missing"), 10).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn file_longer_than_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert!(read_regular(&path, 5).is_ok());
        let why = read_regular(&path, 4).unwrap_err().to_string();
        assert!(why.contains("longer than 4 bytes"), "{why}");
        // A sparse gigabyte takes no disk space and is not read.
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(1 << 30))
            .unwrap();
        assert!(read_regular(&path, 4).is_err());
        fs::write(&path, [0xff]).unwrap();
        assert!(read_regular_text(&path, 4).is_err());
    }

    #[test]
    fn steps_include_every_directory_and_link() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let at = |name: &str| dir.join(name);
        for name in ["etc", "store", "store/x"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("store/x/file"), "text").unwrap();
        symlink("../store/y/./file", at("etc/file")).unwrap();
        symlink(at("store/x"), at("store/y")).unwrap();
        let steps = steps_to(&at("etc/file")).unwrap();
        assert_eq!(steps[0].path, Path::new("/"));
        // The parents appear twice: an absolute link starts at the root again.
        let below = steps.iter().filter(|step| step.path.starts_with(at("")));
        let below: Vec<_> = below.map(|step| step.path.clone()).collect();
        let expected = [
            at("etc"),
            at("etc/file"),
            at("store"),
            at("store/y"),
            at("store"),
            at("store/x"),
            at("store/x/file"),
        ];
        let named: Vec<_> = below.into_iter().filter(|path| *path != dir).collect();
        assert_eq!(named, expected);
        let last = steps.last().unwrap().metadata;
        assert_eq!(
            last,
            Metadata::of(File::open(at("etc/file")).unwrap()).unwrap()
        );
        assert!(steps.iter().filter(|step| step.metadata.is_link()).count() >= 2);
        symlink("loop", at("loop")).unwrap();
        assert!(steps_to(&at("loop")).is_err() && steps_to(&at("missing")).is_err());
    }

    #[test]
    fn removed_renamed_and_replaced_files_are_detected() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        fs::write(&path, "text").unwrap();
        let file = File::open(&path).unwrap();
        let displaced = || look_at(&file, &path).unwrap().displaced;
        assert_eq!(look_at(&file, &path).unwrap().length, 4);
        fs::hard_link(&path, &other).unwrap();
        assert_eq!(displaced(), None, "another link does not matter");
        fs::remove_file(&path).unwrap();
        assert_eq!(displaced(), Some(Displaced::Renamed));
        fs::write(&path, "text").unwrap();
        assert_eq!(displaced(), Some(Displaced::Replaced));
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert_eq!(
            displaced(),
            Some(Displaced::Replaced),
            "a link to it is another file"
        );
        for gone in [&path, &other] {
            fs::remove_file(gone).unwrap();
        }
        assert_eq!(displaced(), Some(Displaced::Removed));
    }
}
