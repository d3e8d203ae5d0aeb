//! cargo-deny: found, or built once under `target/tools`.

use std::path::PathBuf;
use std::time::Duration;

use crate::Options;
use crate::run::{self, Show, cargo, find_program};

const DENY_VERSION: &str = "0.20.2";

/// Where cargo-deny is, or why there is none.
pub(crate) fn cargo_deny(options: &Options) -> Result<PathBuf, String> {
    let tools = run::target_dir().join("tools");
    let built = tools.join("bin/cargo-deny");
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let homes = home.map(|home| home.join("bin/cargo-deny"));
    let found = [Some(built.clone()), find_program("cargo-deny"), homes];
    if let Some(path) = found.into_iter().flatten().find(|path| path.is_file()) {
        return Ok(path);
    }
    if options.no_install {
        return Err("cargo-deny is not installed, and --no-install forbids building it".into());
    }
    run::say(&format!(
        "building cargo-deny {DENY_VERSION} into {} (once)",
        tools.display()
    ));
    let mut command = cargo(&["install", "cargo-deny", "--locked", "--no-default-features"]);
    command
        .args(["--version", DENY_VERSION, "--root"])
        .arg(&tools)
        .args(["--config", "profile.release.opt-level=1"])
        .args(["--config", "profile.release.lto=\"off\""])
        .args(["--config", "profile.release.codegen-units=16"])
        .env("CARGO_TARGET_DIR", tools.join("build"));
    let done = run::run(&mut command, Show::No, Duration::from_secs(900))?;
    if done.ok && built.is_file() {
        // The program is all that is wanted; what it was built from is many times its size.
        let _ = std::fs::remove_dir_all(tools.join("build"));
        Ok(built)
    } else {
        Err(format!(
            "cargo-deny cannot be built here: {}",
            done.last_line()
        ))
    }
}
