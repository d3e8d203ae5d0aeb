//! Checks that the process has one thread: Landlock binds only the calling thread and those it starts later.

use crate::SandboxError;

/// Returns an error if the process has other threads, which would stay unconfined.
pub(crate) fn require_single() -> Result<(), SandboxError> {
    let count = std::fs::read_dir("/proc/self/task")
        .map_err(|why| SandboxError::system("counting threads in /proc/self/task", why))?
        .count();
    if count == 1 {
        Ok(())
    } else {
        Err(SandboxError::Threads(count))
    }
}
