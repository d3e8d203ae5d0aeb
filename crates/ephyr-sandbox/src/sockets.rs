//! Listening sockets passed by systemd (sd_listen_fds(3)) or opened by the daemon itself.

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
    /// Takes the descriptors of `$LISTEN_FDS` if `$LISTEN_PID` is this process. Call it once.
    #[must_use]
    pub fn from_env() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            fds: ListenFd::from_env(),
            names: names.split(':').map(str::to_owned).collect(),
        }
    }

    /// Returns the Unix socket with this name, if it was passed.
    ///
    /// # Errors
    ///
    /// The descriptor with this name is not a listening Unix stream socket.
    pub fn unix(&mut self, name: &str) -> Result<Option<UnixListener>, SandboxError> {
        let Some(index) = self.index(name) else {
            return Ok(None);
        };
        self.fds
            .take_unix_listener(index)
            .map_err(|why| SandboxError::system(format!("socket {name:?} from systemd"), why))
    }

    /// Returns the TCP socket with this name, if it was passed.
    ///
    /// # Errors
    ///
    /// The descriptor with this name is not a listening TCP socket.
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

/// Opens a listening Unix socket with mode 0660 and, if given, this group. Replaces a stale socket. Call it while the
/// process has one thread: it changes the umask temporarily.
///
/// # Errors
///
/// A process listens on the path, something other than a socket is there, or the system's error.
pub fn open_socket(path: &Path, group: Option<u32>) -> Result<UnixListener, SandboxError> {
    let failed = |why: io::Error| SandboxError::system(path.display().to_string(), why);
    remove_stale(path)?;
    // Between bind and chown no other user may connect.
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
            return Err(taken(
                "something other than a socket is there: remove it or choose another path",
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => {
            return Err(taken(
                "another process listens on it: stop that process first",
            ));
        }
    }
    fs::remove_file(path).map_err(|why| SandboxError::system(path.display().to_string(), why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn socket_is_accessible_only_to_its_owner_and_group() {
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
    fn stale_socket_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(open_socket(&path, None).unwrap());
        let _listener = open_socket(&path, None).unwrap();
        assert!(matches!(
            open_socket(&path, None),
            Err(SandboxError::SocketTaken { .. })
        ));
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn files_and_links_are_not_removed() {
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
    fn error_names_the_missing_directory() {
        let dir = tempfile::tempdir().unwrap();
        let error = open_socket(&dir.path().join("no/s"), None).unwrap_err();
        assert!(error.to_string().contains("/no exist?"), "{error}");
    }
}
