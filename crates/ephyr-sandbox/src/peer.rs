//! Credentials of the process at the other end of a Unix socket.

use std::io;
use std::os::fd::AsFd;

/// The credentials of the process that connected (or called `socketpair`), recorded by the kernel at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The process ID, for log lines only: another process may have it by now.
    pub pid: i32,
}

/// Returns the peer of a connected Unix socket (`SO_PEERCRED`, unix(7)).
///
/// # Errors
///
/// The socket is not a connected Unix socket, or the peer's process is not visible in this process's PID namespace. The
/// caller must then treat the peer as unauthorized.
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(Peer {
        uid: credentials.uid.as_raw(),
        gid: credentials.gid.as_raw(),
        pid: credentials.pid.as_raw_nonzero().get(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn peer_of_a_socket_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = peer(&one).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
    }

    #[test]
    fn peer_of_a_file_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(peer(&file).is_err());
    }
}
