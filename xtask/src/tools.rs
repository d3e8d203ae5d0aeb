//! Finds cargo-deny and cargo-fuzz, or builds them under `target/tools`.

use std::path::PathBuf;
use std::time::Duration;

use crate::Options;
use crate::run::{self, Show, cargo, find_program};

const DENY_VERSION: &str = "0.20.2";
const FUZZ_VERSION: &str = "0.13.2";

/// Returns the path of cargo-deny, built if necessary.
pub(crate) fn cargo_deny(options: &Options) -> Result<PathBuf, String> {
    tool(
        "cargo-deny",
        DENY_VERSION,
        &["--no-default-features"],
        options,
    )
}

/// Returns the path of cargo-fuzz, built if necessary.
pub(crate) fn cargo_fuzz(options: &Options) -> Result<PathBuf, String> {
    tool("cargo-fuzz", FUZZ_VERSION, &[], options)
}

/// Returns the path of a cargo program that was built before or is installed.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let homes = home.map(|home| home.join("bin").join(name));
    [Some(built(name)), find_program(name), homes]
        .into_iter()
        .flatten()
        .find(|path| path.is_file())
}

fn built(name: &str) -> PathBuf {
    run::target_dir().join("tools/bin").join(name)
}

fn tool(name: &str, version: &str, more: &[&str], options: &Options) -> Result<PathBuf, String> {
    if let Some(path) = installed(name) {
        return Ok(path);
    }
    if options.no_install {
        return Err(format!(
            "{name} is not installed, and --no-install forbids building it"
        ));
    }
    let tools = run::target_dir().join("tools");
    run::say(&format!(
        "building {name} {version} into {} (once)",
        tools.display()
    ));
    let mut command = cargo(&["install", name, "--locked"]);
    command
        .args(more)
        .args(["--version", version, "--root"])
        .arg(&tools)
        .args(["--config", "profile.release.opt-level=1"])
        .args(["--config", "profile.release.lto=\"off\""])
        .args(["--config", "profile.release.codegen-units=16"])
        .env("CARGO_TARGET_DIR", tools.join("build"));
    let done = run::run(&mut command, Show::No, Duration::from_secs(900))?;
    if done.ok && built(name).is_file() {
        // The build directory is many times the program's size.
        let _ = std::fs::remove_dir_all(tools.join("build"));
        Ok(built(name))
    } else {
        Err(format!("{name} cannot be built here: {}", done.last_line()))
    }
}
