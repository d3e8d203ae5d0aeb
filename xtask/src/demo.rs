//! `cargo xtask demo`: builds the programs and runs the demo.

use std::process::Command;

use crate::Options;
use crate::packages;
use crate::run::{self, cargo};

pub(crate) fn run(options: &Options) -> Result<bool, String> {
    packages::for_targets(options)?;
    run::say("building signer, broker, command and demo (a minute or two the first time)");
    // Not with --package: cargo would resolve different features and recompile everything for the tests.
    let mut build = cargo(&[
        "build",
        "--locked",
        "--profile",
        "ci",
        "--workspace",
        "--bins",
    ]);
    for other in ["ephyr-bench", "ephyr-netguard", "xtask"] {
        build.args(["--exclude", other]);
    }
    // The build keeps the terminal, for its progress bar and for interrupts.
    let status = build
        .status()
        .map_err(|error| format!("starting cargo: {error}"))?;
    if !status.success() {
        return Ok(false);
    }
    let mut demo = Command::new(run::target_dir().join("ci/ephyr-demo"));
    if options.keep {
        demo.arg("--keep");
    }
    let status = demo
        .status()
        .map_err(|error| format!("starting the demo: {error}"))?;
    Ok(status.success())
}
