//! Gives memory back to the kernel that the C library's allocator keeps after a burst.

/// Returns free memory at the top of each arena, and whole free pages within, to the kernel
/// (malloc_trim(3)). Takes some milliseconds with a large heap; meant for a thread that may block. Does
/// nothing where the C library is not glibc.
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

/// Has the allocator keep little of what a burst has used (mallopt(3)); call it before the second thread. All
/// threads share two arenas: with one for each thread, what is left is scattered over all of them. Blocks of
/// 128 KiB and more are always mappings of their own: after the first that is freed, glibc would put ever
/// larger ones between the small. Small blocks are joined with free neighbours when they are freed. Does
/// nothing where the C library is not glibc.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "a foreign function that takes two numbers")]
    // SAFETY: mallopt takes plain numbers; none of these has a precondition but that it comes early.
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
    fn what_a_burst_has_freed_goes_back() {
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
