//! The broker's SSH client: a new key and certificate per connection, pinned host keys, bounded output.
//!
//! A connection takes three steps, each of which is a type:
//!
//! 1. [`connect`] dials the target that a [`SshPermit`](ephyr_policy::SshPermit) names, exchanges keys and
//!    checks the host key: a [`Connection`]. It needs no certificate, so it runs while the signer works.
//! 2. [`Connection::authenticate`] logs in with an [`Identity`], a [`KeyPair`] and its certificate: a
//!    [`LoggedIn`].
//! 3. [`LoggedIn::exec`] runs the permit's command, and no other, to its end: an [`ExecOutput`].
//!
//! Where to connect, as whom and what to run comes from the permit alone. Whatever of these is dropped
//! before its end cuts the TCP connection, and with it what runs there: `docs/ssh.md` says how.

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
