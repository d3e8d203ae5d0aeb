//! Kernel and systemd interfaces of the daemons.
//!
//! - [`Confinement`]: Landlock rules for files, TCP and scopes, as far as the running kernel supports them;
//! - [`Filter`]: a system call filter per daemon;
//! - [`lock_memory`], [`set_non_dumpable`]: keep secrets out of swap and core files;
//! - [`Accounts`], [`peer`]: look up users, groups and the credentials of a socket's other end;
//! - [`Activated`], [`open_socket`]: listening sockets passed by systemd or opened by the daemon itself;
//! - [`read_regular`]: reads configuration, bounded and without blocking; [`look_at`]: checks whether an open file is
//!   still at its path;
//! - [`Notifier`]: `sd_notify`; [`log`]: lines with priorities for the journal; [`exit`]: exit codes;
//! - [`Signals`]: signals for poll loops.
//!
//! Landlock binds the calling thread and the threads that it starts later, so it is applied while the process has one
//! thread. The system call filter follows and binds all threads.

mod accounts;
mod error;
pub mod exit;
mod files;
mod landlock;
pub mod log;
mod memory;
mod notify;
mod peer;
mod seccomp;
mod signals;
mod sockets;
mod threads;

pub use accounts::{Accounts, User};
pub use error::SandboxError;
pub use files::{
    Displaced, Metadata, OpenFile, Step, look_at, open_regular, read_at_most, read_regular,
    read_regular_text, steps_to,
};
pub use landlock::{Confinement, Feature, LandlockReport, Network, require_abi};
pub use memory::{MemoryLock, lock_memory, set_non_dumpable};
pub use notify::Notifier;
pub use peer::{Peer, peer};
pub use seccomp::Filter;
pub use signals::Signals;
pub use sockets::{Activated, open_socket};
