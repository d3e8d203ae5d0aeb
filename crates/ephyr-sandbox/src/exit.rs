//! Exit codes by kind of failure (sysexits(3)). `systemctl status` shows the code and its name.
//!
//! systemd restarts a daemon after any exit code. Failures that a restart can fix never use [`CONFIG`], so that a unit
//! can exempt that code alone (`RestartPreventExitStatus=78`).

/// The command line is wrong.
pub const USAGE: u8 = 64;
/// Input is malformed, or a file was modified or damaged.
pub const DATA_ERROR: u8 = 65;
/// An input file is missing or unreadable.
pub const NO_INPUT: u8 = 66;
/// A required service or program is unavailable.
pub const UNAVAILABLE: u8 = 69;
/// An internal error: a background task stopped, or a shutdown hung.
pub const SOFTWARE: u8 = 70;
/// The system refused a resource: a socket, a thread, memory, a sandbox.
pub const OS_ERROR: u8 = 71;
/// An output file or a socket cannot be created.
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed or was interrupted.
pub const IO_ERROR: u8 = 74;
/// A temporary condition, such as a lock held by another process.
pub const TEMPORARY_FAILURE: u8 = 75;
/// The other side does not speak the protocol, or another version of it.
pub const PROTOCOL: u8 = 76;
/// The caller is not allowed to do this.
pub const NO_PERMISSION: u8 = 77;
/// The configuration, or a file that it names, is invalid: an operator must change it.
pub const CONFIG: u8 = 78;
