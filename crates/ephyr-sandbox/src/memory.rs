//! Memory that neither swap nor a core file ever shows.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::SandboxError;

/// With less than this the process could fail to grow once everything it maps is locked.
const ROOM_TO_GROW: u64 = 64 * 1024 * 1024;

/// How much of the memory is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryLock {
    /// All that is mapped and all that will be.
    All,
    /// All that was mapped at the time; `RLIMIT_MEMLOCK` is too small to bind what comes later to it.
    Current,
    /// Nothing.
    Refused(String),
}

impl MemoryLock {
    /// Whether what held secrets at the time is locked.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::All | Self::Current)
    }
}

/// Keeps the memory out of swap. Pages are locked as they are touched, so that the process does not
/// grow by it.
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

/// No core files, no tracing by other processes of the same user, `/proc/self` owned by root.
///
/// # Errors
///
/// When the kernel refuses, which it has no reason to.
pub fn set_non_dumpable() -> Result<(), SandboxError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|why| SandboxError::system("PR_SET_DUMPABLE", why))?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(|why| SandboxError::system("RLIMIT_CORE", why))
}
