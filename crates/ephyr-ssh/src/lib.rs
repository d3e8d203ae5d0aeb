//! The broker's SSH client: a new key and certificate per connection, pinned host keys, bounded output.
//!
//! One type per step:
//!
//! 1. [`connect`] connects to the target that a [`SshPermit`](ephyr_policy::SshPermit) names, exchanges keys
//!    and checks the host key. It returns a [`Connection`]. It needs no certificate, so it runs while the
//!    signer issues one.
//! 2. [`Connection::authenticate`] logs in with an [`Identity`] (a [`KeyPair`] and its certificate). It
//!    returns a [`LoggedIn`].
//! 3. [`LoggedIn::exec`] runs the permit's command, and no other, until it ends. It returns an
//!    [`ExecOutput`].
//!
//! Host, account and command come only from the permit. Dropping a connection, a login or a
//! running future closes the TCP connection, which ends the command on the target: see `docs/ssh.md`.

mod cancel;
mod capture;
mod connect;
mod endpoint;
mod error;
mod exec;
mod host_key;
mod key;
mod login;
mod proof;
mod timings;
mod wire;

pub use cancel::{Cancel, Canceller, cancellation};
pub use capture::{Chunk, Stream};
pub use connect::{Connection, LOGIN_TIMEOUT, Options, connect};
pub use error::{ClockWindow, Fault, SshError, Stage};
pub use exec::{ExecOptions, ExecOutput, Exit, MAX_OUTPUT};
pub use host_key::HostKeySeen;
pub use key::{Identity, KeyPair};
pub use login::LoggedIn;
pub use timings::Timings;
