//! Keeps the process's memory out of swap and core files.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::SandboxError;

/// Minimum `RLIMIT_MEMLOCK` for locking future mappings: under a lower limit allocations could fail.
const ROOM_TO_GROW: u64 = 64 * 1024 * 1024;

/// The memory that is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryLock {
    /// All current and future mappings.
    All,
    /// The mappings at the time of the call; `RLIMIT_MEMLOCK` is too low for future ones.
    Current,
    /// None, for this reason.
    Refused(String),
}

impl MemoryLock {
    /// Returns whether the memory that was mapped at the time of the call is locked.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::All | Self::Current)
    }
}

/// Locks the process's memory into RAM. Pages are locked when they are first touched, so that locking does not allocate
/// untouched pages.
#[must_use]
pub fn lock_memory() -> MemoryLock {
    let limit = getrlimit(Resource::Memlock).current;
    let future = limit.is_none_or(|bytes| bytes >= ROOM_TO_GROW);
    let mut flags = MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT;
    if future {
        flags |= MlockAllFlags::FUTURE;
    }
    match mlockall(flags) {
        Ok(()) if future => MemoryLock::All,
        Ok(()) => MemoryLock::Current,
        Err(error) => {
            let limit = limit.map_or("unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
            MemoryLock::Refused(format!("{error}; RLIMIT_MEMLOCK is {limit}"))
        }
    }
}

/// Disables core files and tracing by other processes of the same user; `/proc/self` becomes owned by root.
///
/// # Errors
///
/// The system's error, which is not expected.
pub fn set_non_dumpable() -> Result<(), SandboxError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|why| SandboxError::system("PR_SET_DUMPABLE", why))?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(|why| SandboxError::system("RLIMIT_CORE", why))
}
