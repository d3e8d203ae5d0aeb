//! `cargo xtask test`: runs all checks, with counts and times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Options;
use crate::changed;
use crate::deny;
use crate::fuzz;
use crate::layers;
use crate::packages;
use crate::prefetch::Prefetch;
use crate::run::{self, Finished, Show, cargo, find_program};
use crate::skips::AllowedSkips;
use crate::tally::Tally;
use crate::tools;
use crate::vm;

use self::Check::{Counted, Noted};

enum Check {
    Counted(fn(&Options) -> Result<Tally, String>),
    /// With a note for the summary about which checks ran.
    Noted(fn(&Options) -> Result<(Tally, String), String>),
}

/// The stages in their order: those that fail fast come first, and everything is built once before the tests.
const STAGES: &[(&str, Check)] = &[
    ("fmt", Counted(fmt)),
    ("layers", Counted(|_| layers::check())),
    ("deny", Counted(|_| deny::check())),
    ("build", Counted(build)),
    ("clippy", Counted(clippy)),
    ("scripts", Counted(vm::check)),
    ("unit", Counted(unit)),
    ("integration", Counted(integration)),
    ("doc", Counted(doc)),
    ("fuzz", Counted(fuzz::stage)),
    ("sdk", Counted(sdk)),
    ("nix", Counted(nix)),
    ("advisories", Counted(advisories)),
    ("vm", Noted(vm::stage)),
];

/// The stages of `--quick`.
const QUICK: [&str; 6] = ["fmt", "layers", "deny", "clippy", "unit", "integration"];

/// Stages that wait for the prefetch: they use its results, or apt, which allows only one process.
const NEED_PACKAGES: [&str; 7] = ["scripts", "unit", "integration", "fuzz", "sdk", "nix", "vm"];

/// Timeout of one command, longer than any stage takes without a cache.
const TIMEOUT: Duration = Duration::from_secs(1500);

struct StageResult {
    stage: &'static str,
    tally: Tally,
    note: String,
    seconds: f64,
}

/// Runs the stages and returns whether something passed and nothing failed.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let only = options.only.as_deref();
    let chosen: Vec<_> = STAGES
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .filter(|(name, _)| !options.quick || QUICK.contains(name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = STAGES.iter().map(|(name, _)| *name).collect();
        let only = only.unwrap_or_default();
        return Err(format!(
            "unknown stage {only:?}; the stages are {}",
            names.join(", ")
        ));
    }
    let mut prefetch = if only.is_none() && !options.quick {
        Prefetch::start(options)
    } else {
        Prefetch::default()
    };
    let mut results = Vec::new();
    for (stage, check) in chosen {
        run::say(&format!("== {stage}"));
        let start = Instant::now();
        if NEED_PACKAGES.contains(stage) {
            prefetch.wait();
        }
        if matches!(*stage, "unit" | "integration" | "sdk") {
            packages::for_targets(options)?;
        }
        if *stage == "integration"
            && let Err(why) = packages::for_shells(options)
        {
            // Tests of missing shells are counted as skipped.
            run::say(&why);
        }
        let checked = match check {
            Counted(check) => check(options).map(|tally| (tally, String::new())),
            Noted(check) => check(options),
        };
        let (tally, note) = checked.unwrap_or_else(|message| {
            run::say(&message);
            run::say(&format!("FAIL {stage}"));
            (Tally::one(false), String::new())
        });
        results.push(StageResult {
            stage,
            tally,
            note,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    Ok(summarize(&results))
}

/// Prints the summary and returns whether something passed and nothing failed.
fn summarize(results: &[StageResult]) -> bool {
    let mut sum = Tally::default();
    run::say("== summary");
    for StageResult {
        stage,
        tally,
        note,
        seconds,
    } in results
    {
        let line = format!("{stage:<12} {seconds:>7.1} s  {tally}  {note}");
        run::say(line.trim_end());
        sum += *tally;
    }
    run::say(&sum.to_string());
    sum.failed == 0 && sum.passed > 0
}

fn fmt(_: &Options) -> Result<Tally, String> {
    simple(cargo(&["fmt", "--all", "--check"]))
}

fn build(_: &Options) -> Result<Tally, String> {
    let mut command = cargo(&["build", "--locked", "--profile", "ci"]);
    command.args(TARGETS);
    simple(command)
}

/// Builds everything for the tests at once, to use all processors. Always the whole workspace, because a part
/// of it would resolve different features. The example is used by a test.
const TARGETS: [&str; 6] = [
    "--workspace",
    "--lib",
    "--bins",
    "--tests",
    "--example",
    "confined",
];

/// Builds every program of the workspace.
pub(crate) fn programs() -> Result<Tally, String> {
    simple(cargo(&[
        "build",
        "--locked",
        "--profile",
        "ci",
        "--workspace",
        "--bins",
    ]))
}

fn clippy(_: &Options) -> Result<Tally, String> {
    let mut command = cargo(&["clippy", "--locked", "--profile", "ci", "--workspace"]);
    command.args(["--all-targets", "--", "-D", "warnings"]);
    simple(command)
}

fn unit(_: &Options) -> Result<Tally, String> {
    tests(
        "kind(lib) + kind(bin) + kind(proc-macro)",
        &["--lib", "--bins"],
        &[],
    )
}

fn integration(options: &Options) -> Result<Tally, String> {
    if options.quick {
        return changed_integration();
    }
    // Tests start the workspace's programs, which may not have been built by an earlier stage.
    let built = programs()?;
    if built.failed > 0 {
        return Ok(built);
    }
    // The stages `sdk` and `fuzz` run the excluded tests.
    let filter = "kind(test) - binary(official_mcp_clients_work) - package(ephyr-properties)";
    // `cargo test` has no such filter; without nextest the SDK tests skip themselves.
    tests(filter, &["--tests"], &[])
}

/// Runs the integration tests of the changed crates.
fn changed_integration() -> Result<Tally, String> {
    let crates = changed::crates()?;
    let crates: Vec<_> = crates
        .iter()
        .map(|name| (name, changed::test_binaries(name)))
        .filter(|(_, binaries)| !binaries.is_empty())
        .collect();
    let names: Vec<&str> = crates.iter().map(|(name, _)| name.as_str()).collect();
    run::say(&format!(
        "integration tests of changed crates: {}; `cargo xtask test` runs all",
        if names.is_empty() { "none" } else { "" }.to_owned() + &names.join(", ")
    ));
    if names.is_empty() {
        return Ok(Tally::default());
    }
    let mut build = cargo(&[
        "build",
        "--locked",
        "--profile",
        "ci",
        "--workspace",
        "--bins",
    ]);
    build.args(["--example", "confined"]);
    let built = simple(build)?;
    if built.failed > 0 {
        return Ok(built);
    }
    let packages: Vec<String> = names
        .iter()
        .map(|name| format!("package({name})"))
        .collect();
    let filter = format!(
        "kind(test) & ({}) - binary(official_mcp_clients_work)",
        packages.join(" + ")
    );
    let binaries = crates.iter().flat_map(|(_, binaries)| binaries);
    let kinds: Vec<&str> = binaries
        .flat_map(|name| ["--test", name.as_str()])
        .collect();
    tests(&filter, &kinds, &[])
}

/// Runs tests with nextest and `filter`, or with `cargo test` if nextest is missing. `kinds` selects the target
/// kinds to build, in the whole workspace.
pub(crate) fn tests(
    filter: &str,
    kinds: &[&str],
    environment: &[(&str, &Path)],
) -> Result<Tally, String> {
    let skips = run::target_dir().join("skipped-tests");
    let _ = fs::remove_file(&skips);
    let nextest = find_program("cargo-nextest").is_some();
    let mut command = if nextest {
        let mut command = cargo(&["nextest", "run", "--locked", "--cargo-profile", "ci"]);
        command
            .args([
                "--no-fail-fast",
                "--run-ignored",
                "all",
                "--no-tests",
                "pass",
            ])
            .args(["--status-level", "pass", "-E", filter])
            // Most tests wait for daemons and timeouts rather than for a processor.
            .args(["--test-threads", &(2 * processors()).to_string()]);
        command
    } else {
        cargo(&["test", "--locked", "--profile", "ci", "--no-fail-fast"])
    };
    command.arg("--workspace").args(kinds);
    if !nextest {
        command.args(["--", "--include-ignored"]);
    }
    command
        .env("EPHYR_SKIPPED_TESTS", &skips)
        .envs(environment.iter().copied());
    let done = run::run(&mut command, Show::Yes, TIMEOUT)?;
    report_timeout(&done);
    let tally = if nextest {
        Tally::of_nextest(&done.output)
    } else {
        Tally::of_libtest(&done.output)
    };
    let skipped = fs::read_to_string(&skips).unwrap_or_default();
    let allowed = AllowedSkips::read();
    let skips = skipped.lines().fold(Tally::default(), |mut skips, line| {
        skips += allowed.report(line);
        skips
    });
    let mut tally = tally.with_exit(done.ok).with_skips(skips.skipped);
    tally.failed += skips.failed;
    Ok(tally)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn doc(_: &Options) -> Result<Tally, String> {
    let mut command = cargo(&[
        "test",
        "--locked",
        "--profile",
        "ci",
        "--workspace",
        "--doc",
    ]);
    command.arg("--no-fail-fast");
    let done = run::run(&mut command, Show::Yes, TIMEOUT)?;
    report_timeout(&done);
    Ok(Tally::of_libtest(&done.output).with_exit(done.ok))
}

/// Tests the official MCP SDKs of other languages as clients of the broker.
fn sdk(options: &Options) -> Result<Tally, String> {
    if let Err(why) = packages::for_clients(options) {
        return Ok(skip("sdk", &why));
    }
    let dir = run::target_dir().join("sdk");
    let mut setup = Command::new(run::root().join("tests/sdk/setup.sh"));
    setup.arg(&dir);
    let made = run::run(&mut setup, Show::Yes, TIMEOUT)?;
    if !made.ok {
        return Ok(skip(
            "sdk",
            &format!("the SDKs cannot be installed here: {}", made.last_line()),
        ));
    }
    let built = programs()?;
    if built.failed > 0 {
        return Ok(built);
    }
    tests(
        "binary(official_mcp_clients_work)",
        &["--test", "official_mcp_clients_work"],
        &[("EPHYR_SDK_DIR", &dir)],
    )
}

/// Checks the Nix files, without building NixOS.
fn nix(options: &Options) -> Result<Tally, String> {
    if let Err(why) = packages::for_nix(options) {
        return Ok(skip("nix", &why));
    }
    let built = programs()?;
    if built.failed > 0 {
        return Ok(built);
    }
    let mut command = Command::new("python3");
    command
        .arg("-B")
        .arg(run::root().join("nixos-module/tests/check.py"))
        .arg("--ephyr")
        .arg(run::target_dir().join("ci/ephyr"))
        .env("CARGO_TARGET_DIR", run::target_dir());
    let done = run::run(&mut command, Show::Yes, TIMEOUT)?;
    report_timeout(&done);
    Ok(Tally::of_driver(&done.output).with_exit(done.ok))
}

/// If set, the advisory database is fetched from its public repository.
const FETCH_ADVISORIES: &str = "EPHYR_FETCH_ADVISORIES";

/// Returns whether there is a database of an earlier fetch.
fn has_advisories() -> bool {
    let databases = fs::read_dir(advisory_databases());
    databases.is_ok_and(|databases| databases.flatten().any(|entry| entry.path().is_dir()))
}

/// The directory of cargo-deny's databases.
fn advisory_databases() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    home.unwrap_or_default().join("advisory-dbs")
}

fn advisories(options: &Options) -> Result<Tally, String> {
    let fetch = std::env::var_os(FETCH_ADVISORIES).is_some();
    // cargo-deny is built only on request, because that takes minutes.
    let program = if fetch {
        tools::cargo_deny(options)
    } else {
        tools::installed("cargo-deny").ok_or_else(|| {
            format!("cargo-deny is not installed; {FETCH_ADVISORIES}=1 builds it and fetches the database")
        })
    };
    let program = match program {
        Ok(program) => program,
        Err(why) => return Ok(skip("advisories", &why)),
    };
    // A run uses no network except the registries, unless requested.
    if fetch {
        let mut command = Command::new(&program);
        command
            .args(["--locked", "fetch", "db"])
            .current_dir(run::root())
            .env("GIT_TERMINAL_PROMPT", "0");
        let fetched = run::run(&mut command, Show::No, Duration::from_secs(90))?;
        if !fetched.ok {
            let why = if fetched.timed_out {
                "it timed out"
            } else {
                fetched.last_line()
            };
            let why = format!("the advisory database cannot be fetched: {why}");
            return Ok(skip("advisories", &why));
        }
    } else if !has_advisories() {
        let why = format!("there is no advisory database here; {FETCH_ADVISORIES}=1 fetches it");
        return Ok(skip("advisories", &why));
    }
    let mut command = Command::new(&program);
    command
        .args(["--locked", "check", "--disable-fetch", "advisories"])
        .current_dir(run::root());
    simple(command)
}

fn simple(mut command: Command) -> Result<Tally, String> {
    let done = run::run(&mut command, Show::Yes, TIMEOUT)?;
    report_timeout(&done);
    Ok(Tally::one(done.ok))
}

fn report_timeout(done: &Finished) {
    if done.timed_out {
        run::say(&format!(
            "stopped: not finished within {} s",
            TIMEOUT.as_secs()
        ));
    }
}

/// Reports a skipped stage and counts it.
pub(crate) fn skip(stage: &str, why: &str) -> Tally {
    AllowedSkips::read().report(&format!("SKIP {stage}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_without_passed_checks_fails() {
        let result = |tally| StageResult {
            stage: "fmt",
            tally,
            note: String::new(),
            seconds: 0.0,
        };
        assert!(!summarize(&[]));
        assert!(!summarize(&[result(Tally::skip())]));
        assert!(!summarize(&[result(Tally {
            passed: 3,
            failed: 1,
            skipped: 0
        })]));
        assert!(summarize(&[result(Tally {
            passed: 1,
            failed: 0,
            skipped: 2
        })]));
    }
}
