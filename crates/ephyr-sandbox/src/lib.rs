//! What the daemons ask of the kernel and of systemd.
//!
//! - [`Confinement`]: Landlock, on files, TCP and scopes, as far as the running kernel goes;
//! - [`Filter`]: a system call filter per daemon;
//! - [`lock_memory`], [`set_non_dumpable`]: secrets stay out of swap and core files;
//! - [`Accounts`], [`peer`]: who a user name is, and who is at the other end of a socket;
//! - [`Activated`], [`open_socket`]: listening sockets from systemd, or opened by the daemon itself;
//! - [`read_regular`]: configuration, bounded and without blocking; [`look_at`]: checks whether an open file is still
//!   at its path;
//! - [`Notifier`] for `sd_notify`; [`log`]: lines with priorities for the journal; [`exit`]: exit codes;
//! - [`Signals`] for poll loops.
//!
//! Landlock binds the thread that asks and those it starts later, so it is applied while the process
//! has only one; the system call filter follows it and binds all.

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
