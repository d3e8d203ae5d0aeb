//! `cargo xtask fuzz`: coverage-guided fuzzing; and the test stage `fuzz`, which replays and mutates every committed
//! input without a fuzzer.
//!
//! The targets are built without a memory sanitizer, because the workspace forbids unsafe code. They therefore
//! build with the same toolchain as everything else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Options;
use crate::run::{self, Show, cargo};
use crate::tally::Tally;
use crate::test::tests;
use crate::tools;

/// Default fuzzing time for each target, in seconds.
const DEFAULT_TIME: u64 = 60;
/// Timeout for building a target without a cache, in seconds.
const BUILD_TIMEOUT: u64 = 1500;
/// Maximum input length: longer than any token, proof or request that is not rejected for its length alone.
const MAX_BYTES: u32 = 12 * 1024;

/// Fuzzes the named targets, or all.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let known = targets()?;
    let names = if options.all { &known } else { &options.names };
    if names.is_empty() || (options.all && !options.names.is_empty()) {
        return Err(format!(
            "name targets or use --all; the targets are {}",
            known.join(", ")
        ));
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "unknown target {unknown:?}; the targets are {}",
            known.join(", ")
        ));
    }
    let program = tools::cargo_fuzz(options)?;
    let mut tally = Tally::default();
    for name in names {
        tally += fuzz(&program, name, options.seconds.unwrap_or(DEFAULT_TIME))?;
    }
    run::say(&tally.to_string());
    Ok(tally.failed == 0)
}

/// The test stage: replays every committed input and mutations of it. A test ensures that each fuzz target is only
/// one line, so instead of building the targets, only their lock file is checked.
pub(crate) fn stage(_: &Options) -> Result<Tally, String> {
    let mut tally = tests("package(ephyr-properties)", &["--test", "corpora"], &[])?;
    let mut locked = cargo(&["metadata", "--locked", "--format-version", "1"]);
    locked
        .arg("--manifest-path")
        .arg(run::root().join("fuzz/Cargo.toml"));
    let done = run::run(&mut locked, Show::No, Duration::from_secs(300))?;
    if !done.ok {
        run::say(done.output.trim_end());
    }
    let verdict = if done.ok { "PASS" } else { "FAIL" };
    run::say(&format!("{verdict} fuzz/Cargo.lock names every version"));
    tally += Tally::one(done.ok);
    Ok(tally)
}

/// The names of the targets, one file each.
fn targets() -> Result<Vec<String>, String> {
    let folder = run::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Fuzzes one target. New inputs go into a local corpus; the committed one is only read.
fn fuzz(program: &Path, name: &str, seconds: u64) -> Result<Tally, String> {
    let target = run::target_dir().join("fuzz");
    let corpus = target.join("corpus").join(name);
    fs::create_dir_all(&corpus).map_err(|e| format!("{}: {e}", corpus.display()))?;
    let mut command = std::process::Command::new(program);
    command
        .args(["run", "--sanitizer", "none", "--target-dir"])
        .arg(&target)
        .arg(name)
        .arg(&corpus)
        .arg(run::root().join("fuzz/corpus").join(name))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_BYTES}"))
        .args(["-timeout=10", "-print_final_stats=1"])
        .current_dir(run::root());
    let timeout = Duration::from_secs(BUILD_TIMEOUT + seconds);
    let done = run::run(&mut command, Show::No, timeout)?;
    // A fuzzer that ran no input has tested nothing.
    let runs = done
        .output
        .lines()
        .find_map(|line| line.trim().strip_prefix("stat::number_of_executed_units:"))
        .and_then(|count| count.trim().parse::<u64>().ok());
    let good = done.ok && runs.is_some_and(|runs| runs > 0);
    if good {
        run::say(&format!(
            "PASS fuzz {name}: {} inputs in {seconds} s",
            runs.unwrap_or(0)
        ));
    } else {
        run::say(done.output.trim_end());
        run::say(&format!("FAIL fuzz {name}"));
    }
    Ok(Tally::one(good))
}
