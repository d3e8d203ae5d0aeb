//! `cargo xtask bench`: builds the release programs and measures them.

use std::process::Command;

use crate::Options;
use crate::packages;
use crate::run::{self, cargo};

pub(crate) fn run(options: &Options) -> Result<bool, String> {
    packages::for_targets(options)?;
    let mut build = cargo(&["build", "--locked", "--release", "--bins"]);
    for program in ["ephyr-signer", "ephyr-broker", "ephyr-cli", "ephyr-bench"] {
        build.args(["--package", program]);
    }
    // The build has the terminal; what it says goes to standard error, away from the figures.
    let status = build
        .status()
        .map_err(|error| format!("starting cargo: {error}"))?;
    if !status.success() {
        return Ok(false);
    }
    let mut bench = Command::new(run::target_dir().join("release/ephyr-bench"));
    if options.json {
        bench.arg("--json");
    }
    bench.args(&options.names);
    let status = bench
        .status()
        .map_err(|error| format!("starting the measurement: {error}"))?;
    Ok(status.success())
}
