//! `cargo xtask bench`: builds the release programs and runs the benchmarks.

use std::process::Command;

use crate::Options;
use crate::dist;
use crate::packages;

pub(crate) fn run(options: &Options) -> Result<bool, String> {
    packages::for_targets(options)?;
    let Some(dir) = dist::build(&["ephyr-broker", "ephyr-cli", "ephyr-bench"])? else {
        return Ok(false);
    };
    let mut bench = Command::new(dir.join("ephyr-bench"));
    if options.json {
        bench.arg("--json");
    }
    bench.args(&options.names);
    let status = bench
        .status()
        .map_err(|error| format!("starting ephyr-bench: {error}"))?;
    Ok(status.success())
}
