//! `cargo xtask vm`: scenarios on virtual machines; `vm-tests/` has the driver, in Python.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::packages;
use crate::run::{self, Show};
use crate::tally::Tally;
use crate::test;

/// For a driver that hangs: its own limits grow with the slowness of the machine, this one does not.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Set to 1, it has the stage run every scenario, whichever commit it is.
const ALL: &str = "EPHYR_VM_ALL";

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
    if options.prepare {
        return prepare(options);
    }
    let mut choice = Vec::new();
    if options.core {
        choice.push("--core");
    }
    if let Some(turn) = &options.turn {
        choice.extend(["--turn", turn]);
    }
    scenarios(options, &choice).map(|(tally, _)| tally.failed == 0 && tally.passed > 0)
}

/// Makes the guests' image, which needs no program of ours, so that it can be made while they are compiled.
///
/// # Errors
/// Something is missing on this machine.
pub(crate) fn prepare(options: &Options) -> Result<bool, String> {
    packages::for_guests(options)?;
    Ok(run::run(&mut image(), Show::Yes, LIMIT)?.ok)
}

/// The core scenarios and a third of the others, which third by the commit, as a stage of `cargo xtask test`; skipped where
/// machines cannot be had.
///
/// # Errors
/// The programs do not build.
pub(crate) fn stage(options: &Options) -> Result<(Tally, String), String> {
    let skip = |why: &str| Ok((test::skip("vm", why), String::new()));
    if !packages::is_root() {
        return skip("building the machines' system needs root");
    }
    if let Err(why) = packages::for_guests(options) {
        return skip(&why);
    }
    let all = std::env::var_os(ALL).is_some_and(|value| value == "1");
    let choice: &[&str] = if all { &[] } else { &["--turn", "commit"] };
    scenarios(options, choice)
}

/// Builds the programs, runs the scenarios that `choice` tells the driver to run, and counts them; with the driver's line
/// that names those which were not chosen.
///
/// # Errors
/// As [`run`].
fn scenarios(options: &Options, choice: &[&str]) -> Result<(Tally, String), String> {
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
    command.args(choice).args(&options.names);
    let done = run::run(&mut command, Show::Yes, LIMIT)?;
    let mut lines = done.output.lines();
    let note = lines.find(|line| line.contains(" scenarios in this run"));
    let tally = Tally::of_driver(&done.output).with_exit(done.ok);
    Ok((tally, note.unwrap_or_default().to_owned()))
}

/// Returns the command that builds the guests' image.
pub(crate) fn image() -> Command {
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
