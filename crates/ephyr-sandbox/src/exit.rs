//! Exit codes that say which kind of failure ended a program (sysexits(3)). `systemctl status` shows code and name.
//!
//! systemd restarts a daemon whatever its code is. A failure that a restart can mend has another code than
//! [`CONFIG`], so that a unit may exempt that one alone (`RestartPreventExitStatus=78`).

/// The command line is wrong.
pub const USAGE: u8 = 64;
/// Input is malformed, or a file is not what its writer left.
pub const DATA_ERROR: u8 = 65;
/// An input file is missing or unreadable.
pub const NO_INPUT: u8 = 66;
/// A service or program that is needed is not there.
pub const UNAVAILABLE: u8 = 69;
/// A fault of the program itself: a background task stopped, or a shutdown hung.
pub const SOFTWARE: u8 = 70;
/// The system refused a resource: a socket, a thread, memory, a sandbox.
pub const OS_ERROR: u8 = 71;
/// An output file or a socket cannot be created.
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed, or broke off in the middle.
pub const IO_ERROR: u8 = 74;
/// A condition that passes by itself, such as another process that holds a lock.
pub const TEMPORARY_FAILURE: u8 = 75;
/// The other side does not speak the protocol, or another version of it.
pub const PROTOCOL: u8 = 76;
/// The caller may not do this.
pub const NO_PERMISSION: u8 = 77;
/// The configuration, or a file that it names: an operator must change it.
pub const CONFIG: u8 = 78;
