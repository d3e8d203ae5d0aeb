//! Output of any size passes in little memory. A program of its own, so that nothing else counts.

#[path = "../ssh/support/mod.rs"]
mod support;

use std::time::Duration;

use ephyr_ssh::Exit;
use support::{Lab, memory_high_water, run, within};

/// For a whole process that lets a gigabyte of output through, in KiB.
const MOST: u64 = 32 * 1024;

#[test]
fn fifty_megabytes_of_output_and_then_more_pass_in_flat_memory() {
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
    assert!(seen[1] < MOST, "{seen:?} KiB");
    assert!(
        seen[1] < seen[0] + 4096,
        "five times the output takes more memory: {seen:?} KiB"
    );
}
