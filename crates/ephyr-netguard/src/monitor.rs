//! Receives netlink notifications of nf_tables changes. Their content is ignored: the table is listed and compared after
//! any change, and every few seconds anyway.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// The group `NFNLGRP_NFTABLES` as a bit mask: every change of the ruleset.
const CHANGES: u32 = 1 << (7 - 1);

/// A netlink socket subscribed to nf_tables changes.
#[derive(Debug)]
pub(crate) struct Monitor {
    socket: OwnedFd,
}

impl Monitor {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::NETFILTER),
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, CHANGES))?;
        Ok(Self { socket })
    }

    /// Discards all queued messages, also after an overflow (ENOBUFS).
    pub(crate) fn drain(&self) {
        let mut buffer = [0; 8192];
        loop {
            match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
