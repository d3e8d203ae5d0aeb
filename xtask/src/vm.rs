//! `cargo xtask vm`: runs scenarios on virtual machines, with the Python driver in `vm-tests/`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::packages;
use crate::run::{self, Show};
use crate::tally::Tally;
use crate::test;

/// Timeout of a driver that hangs. The driver's own timeouts scale with the machine's speed, this one does not.
const TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// If set to 1, the stage runs every scenario.
const ALL: &str = "EPHYR_VM_ALL";

/// Runs the scenarios and returns whether something passed and nothing failed.
///
/// # Errors
/// A required package is missing, or the build failed.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    if options.list {
        let mut command = driver();
        command.arg("--list").args(&options.names);
        return Ok(run::run(&mut command, Show::Yes, TIMEOUT)?.ok);
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

/// Builds the guests' image. It contains none of the workspace's programs, so this can run while they compile.
///
/// # Errors
/// A required package is missing.
pub(crate) fn prepare(options: &Options) -> Result<bool, String> {
    packages::for_guests(options)?;
    Ok(run::run(&mut image(), Show::Yes, TIMEOUT)?.ok)
}

/// The stage of `cargo xtask test`: runs the core scenarios and a third of the others, selected by the commit.
/// Skipped if virtual machines cannot run here.
///
/// # Errors
/// The build failed.
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

/// Builds the programs, runs the scenarios selected by the driver's options `choice`, and returns the counts and
/// the driver's line about the scenarios that were not selected.
///
/// # Errors
/// As [`run`].
fn scenarios(options: &Options, choice: &[&str]) -> Result<(Tally, String), String> {
    packages::for_guests(options)?;
    // The whole workspace: a part of it would resolve different features and recompile dependencies.
    if test::programs()?.failed > 0 {
        return Err("building the programs failed".into());
    }
    let mut command = driver();
    command.arg("--programs").arg(run::target_dir().join("ci"));
    for (given, flag) in [(options.keep, "--keep"), (options.mutate, "--mutate")] {
        if given {
            command.arg(flag);
        }
    }
    if !options.keep {
        // Usually only one machine of a scenario is busy at a time.
        let jobs = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(4);
        command.arg("--jobs").arg(jobs.to_string());
    }
    command.args(choice).args(&options.names);
    let done = run::run(&mut command, Show::Yes, TIMEOUT)?;
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

/// Checks the driver and the scenarios without virtual machines: unit tests, types, names.
///
/// # Errors
/// Python is missing.
pub(crate) fn check(options: &Options) -> Result<Tally, String> {
    if let Err(why) = packages::for_scripts(options) {
        run::say(&why);
    }
    let mut command = driver();
    command.arg("--check");
    let done = run::run(&mut command, Show::Yes, TIMEOUT)?;
    Ok(Tally::of_driver(&done.output).with_exit(done.ok))
}

fn driver() -> Command {
    let place: PathBuf = run::root().join("vm-tests");
    let mut command = Command::new("python3");
    // -B: writes no compiled files into the source tree.
    command.args(["-B", "-m", "driver"]).current_dir(place);
    command
}
