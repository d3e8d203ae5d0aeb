//! Listening sockets: from systemd (sd_listen_fds(3)), or opened by the daemon itself.

use std::env;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use listenfd::ListenFd;
use rustix::fs::{Gid, Mode, chmod, chown};
use rustix::process::umask;

use crate::SandboxError;
use crate::landlock::parent;

/// The sockets that systemd passed, by the names of their `FileDescriptorName=`.
pub struct Activated {
    fds: ListenFd,
    names: Vec<String>,
}

impl Activated {
    /// Takes `$LISTEN_FDS` where `$LISTEN_PID` is this process; nothing otherwise. Call it once.
    #[must_use]
    pub fn from_env() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            fds: ListenFd::from_env(),
            names: names.split(':').map(str::to_owned).collect(),
        }
    }

    /// The Unix socket of this name, where it was passed.
    ///
    /// # Errors
    ///
    /// When what was passed under this name is no listening Unix stream socket.
    pub fn unix(&mut self, name: &str) -> Result<Option<UnixListener>, SandboxError> {
        let Some(index) = self.index(name) else {
            return Ok(None);
        };
        self.fds
            .take_unix_listener(index)
            .map_err(|why| SandboxError::system(format!("socket {name:?} from systemd"), why))
    }

    /// The TCP socket of this name, where it was passed.
    ///
    /// # Errors
    ///
    /// When what was passed under this name is no listening TCP socket.
    pub fn tcp(&mut self, name: &str) -> Result<Option<TcpListener>, SandboxError> {
        let Some(index) = self.index(name) else {
            return Ok(None);
        };
        self.fds
            .take_tcp_listener(index)
            .map_err(|why| SandboxError::system(format!("socket {name:?} from systemd"), why))
    }

    fn index(&self, name: &str) -> Option<usize> {
        let index = self.names.iter().position(|known| known == name)?;
        (index < self.fds.len()).then_some(index)
    }
}

/// Opens a listening Unix socket, mode 0660, of this group where one is given. A socket that a dead
/// process left behind is replaced. Call it while the process has one thread: it sets the umask for
/// a moment.
///
/// # Errors
///
/// When the path is taken by a living process or by something that is no socket, or the directory
/// does not allow it.
pub fn open_socket(path: &Path, group: Option<u32>) -> Result<UnixListener, SandboxError> {
    let failed = |why: io::Error| SandboxError::system(path.display().to_string(), why);
    remove_stale(path)?;
    // Nobody else gets in between bind and chgrp.
    let before = umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.map_err(|why| {
        let hint = format!("{} (does {} exist?)", why, parent(path).display());
        failed(io::Error::new(why.kind(), hint))
    })?;
    if let Some(gid) = group {
        chown(path, None, Some(Gid::from_raw(gid))).map_err(|why| failed(why.into()))?;
    }
    chmod(path, Mode::from_raw_mode(0o660)).map_err(|why| failed(why.into()))?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), SandboxError> {
    let taken = |why| SandboxError::SocketTaken {
        path: path.to_owned(),
        why,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SandboxError::system(path.display().to_string(), error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(taken("something that is no socket lies there"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => return Err(taken("another process listens there: stop it first")),
    }
    fs::remove_file(path).map_err(|why| SandboxError::system(path.display().to_string(), why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_socket_is_for_its_owner_and_group_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let gid = rustix::process::getegid().as_raw();
        let _listener = open_socket(&path, Some(gid)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
        assert_eq!(metadata.gid(), gid);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(open_socket(&path, None).unwrap());
        let _living = open_socket(&path, None).unwrap();
        assert!(matches!(
            open_socket(&path, None),
            Err(SandboxError::SocketTaken { .. })
        ));
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn files_and_links_are_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "precious").unwrap();
        let link = dir.path().join("link");
        symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            assert!(matches!(
                open_socket(path, None),
                Err(SandboxError::SocketTaken { .. })
            ));
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = open_socket(&dir.path().join("no/s"), None).unwrap_err();
        assert!(error.to_string().contains("/no exist?"), "{error}");
    }
}
