//! Returns memory to the kernel that glibc's allocator would keep after a load peak.

/// Releases free memory at the top of each arena, and whole free pages within, to the kernel (malloc_trim(3)). Takes some
/// milliseconds with a large heap, so call it on a thread that may block. Does nothing with a C library other than
/// glibc.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "a foreign function that takes a number and has no preconditions"
    )]
    // SAFETY: malloc_trim may be called at any time from any thread (MT-Safe, malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Configures the allocator to retain little memory after a load peak (mallopt(3)). Call it before the second thread
/// starts. Does nothing with a C library other than glibc.
///
/// - All threads share two arenas: with one per thread, retained blocks are scattered over all of them.
/// - Blocks of 128 KiB and more are always separate mappings: by default glibc raises this threshold when such a block
///   is freed, and then places larger blocks among the small ones.
/// - Small blocks are merged with free neighbours when they are freed.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "a foreign function that takes two numbers")]
    // SAFETY: mallopt takes plain numbers; these parameters have no precondition except to be set before other threads
    // start.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
        libc::mallopt(libc::M_MXFAST, 0);
    }
}

#[cfg(test)]
mod tests {
    fn resident() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn trim_returns_freed_memory_to_the_kernel() {
        // Small blocks with a survivor after them, so that freeing alone returns nothing.
        let burst: Vec<Box<[u8; 1024]>> = (0..50_000).map(|n| Box::new([n as u8; 1024])).collect();
        let survivor = Box::new([1u8; 1024]);
        let full = resident();
        drop(burst);
        super::trim();
        assert!(
            resident() + 40_000_000 < full,
            "{} of {full} left",
            resident()
        );
        drop(survivor);
    }
}
