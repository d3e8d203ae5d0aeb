//! `cargo xtask vm`: scenarios on virtual machines; `vm-tests/` has the driver, in Python.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::packages;
use crate::run::{self, Show};
use crate::tally::Tally;
use crate::test;

/// All scenarios under plain emulation on a slow machine, and then some.
const LIMIT: Duration = Duration::from_secs(7200);

/// Runs the scenarios; true when something passed and nothing failed.
///
/// # Errors
/// Something is missing on this machine, or the programs do not build.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    if options.list {
        let mut command = driver();
        command.arg("--list").args(&options.names);
        return Ok(run::run(&mut command, Show::Yes, LIMIT)?.ok);
    }
    scenarios(options).map(|tally| tally.failed == 0 && tally.passed > 0)
}

/// All scenarios, as a stage of `cargo xtask test`; skipped where machines cannot be had.
///
/// # Errors
/// The programs do not build.
pub(crate) fn stage(options: &Options) -> Result<Tally, String> {
    if !packages::is_root() {
        let why = "building the machines' system needs root";
        return Ok(test::skip("vm", why));
    }
    if let Err(why) = packages::for_guests(options) {
        return Ok(test::skip("vm", &why));
    }
    scenarios(options)
}

/// Builds the programs, runs the scenarios and counts them.
///
/// # Errors
/// As [`run`].
fn scenarios(options: &Options) -> Result<Tally, String> {
    packages::for_guests(options)?;
    // All of the workspace: a part of it would resolve other features, and compile its dependencies anew.
    if test::programs()?.failed > 0 {
        return Err("the programs do not build".into());
    }
    let mut command = driver();
    command.arg("--programs").arg(run::target_dir().join("ci"));
    for (given, flag) in [(options.keep, "--keep"), (options.mutate, "--mutate")] {
        if given {
            command.arg(flag);
        }
    }
    if !options.keep {
        // One machine of a scenario works at a time as a rule.
        let jobs = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(4);
        command.arg("--jobs").arg(jobs.to_string());
    }
    command.args(&options.names);
    let done = run::run(&mut command, Show::Yes, LIMIT)?;
    Ok(Tally::of_driver(&done.output).with_exit(done.ok))
}

/// The command that makes what the machines need and our programs are no part of.
pub(crate) fn prepare() -> Command {
    let mut command = driver();
    command.arg("--prepare");
    command
}

/// Checks the driver and the scenarios without a machine: unit tests, types, names.
///
/// # Errors
/// Python is missing.
pub(crate) fn check(options: &Options) -> Result<Tally, String> {
    if let Err(why) = packages::for_scripts(options) {
        run::say(&why);
    }
    let mut command = driver();
    command.arg("--check");
    let done = run::run(&mut command, Show::Yes, LIMIT)?;
    Ok(Tally::of_driver(&done.output).with_exit(done.ok))
}

fn driver() -> Command {
    let place: PathBuf = run::root().join("vm-tests");
    let mut command = Command::new("python3");
    // Compiled files have no place in the tree.
    command.args(["-B", "-m", "driver"]).current_dir(place);
    command
}
