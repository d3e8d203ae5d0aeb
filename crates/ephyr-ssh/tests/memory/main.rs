//! Memory use is independent of the output's size. A separate program, so that only this test counts.

#[path = "../ssh/support/mod.rs"]
mod support;

use std::time::Duration;

use ephyr_ssh::Exit;
use support::{Lab, memory_high_water, run, within};

/// Limit for the whole process, in KiB.
const MAX_MEMORY: u64 = 32 * 1024;

#[test]
fn memory_is_flat_in_the_size_of_the_output() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let lab = Lab::start();
    let mut seen = Vec::new();
    for megabytes in [50, 250] {
        let command = format!("head -c {megabytes}M /dev/zero; head -c {megabytes}M /dev/zero >&2");
        let options = within(Duration::from_secs(120));
        let done = runtime.block_on(run(&lab, &command, options)).unwrap();
        let bytes = megabytes * 1024 * 1024;
        assert_eq!((done.stdout_bytes, done.stderr_bytes), (bytes, bytes));
        assert_eq!((done.stdout.len(), done.stderr.len()), (1 << 20, 1 << 20));
        assert!(done.stdout_truncated && done.stderr_truncated);
        assert_eq!(done.exit, Exit::Code(0));
        seen.push(memory_high_water());
    }
    assert!(seen[1] < MAX_MEMORY, "{seen:?} KiB");
    assert!(
        seen[1] < seen[0] + 4096,
        "five times the output took more memory: {seen:?} KiB"
    );
}
