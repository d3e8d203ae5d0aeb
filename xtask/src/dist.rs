//! `cargo xtask dist`: builds the programs for installation, under `target/dist`.
//!
//! The signer has its own profile: static, optimised for size, aborting on panic. Without shared libraries it
//! locks half as much memory.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::Options;
use crate::packages;
use crate::run::{self, cargo};

pub(crate) fn run(options: &Options) -> Result<bool, String> {
    packages::for_targets(options)?;
    let Some(dir) = build(&["ephyr-broker", "ephyr-netguard", "ephyr-cli"])? else {
        return Ok(false);
    };
    run::say(&format!("the programs are in {}", dir.display()));
    Ok(true)
}

/// Builds the signer and these packages and returns the directory of their programs; `None` if the build failed,
/// which cargo has reported.
pub(crate) fn build(packages: &[&str]) -> Result<Option<PathBuf>, String> {
    let target = run::target_dir();
    let host = host()?;
    let mut build = cargo(&["build", "--locked", "--release", "--bins"]);
    for package in packages {
        build.args(["--package", package]);
    }
    let mut signer = cargo(&["build", "--locked", "--profile", "signer", "--bins"]);
    signer
        .args(["--package", "ephyr-signer", "--target", &host])
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C relocation-model=static",
        )
        .env("CARGO_TARGET_DIR", target.join("static"));
    for command in [&mut build, &mut signer] {
        // The build keeps the terminal. Cargo writes to standard error, apart from the output of `bench`.
        let status = command.status();
        let status = status.map_err(|error| format!("starting cargo: {error}"))?;
        if !status.success() {
            return Ok(None);
        }
    }
    let dist = target.join("dist");
    fs::create_dir_all(&dist).map_err(|error| format!("{}: {error}", dist.display()))?;
    let release = |name: &str| target.join("release").join(name);
    let mut programs = vec![
        target
            .join("static")
            .join(&host)
            .join("signer/ephyr-signer"),
    ];
    programs.extend(packages.iter().map(|package| match *package {
        "ephyr-cli" => release("ephyr"),
        package => release(package),
    }));
    for program in programs {
        let name = program.file_name().unwrap_or_default();
        let to = dist.join(name);
        // A running program cannot be overwritten, but it can be replaced.
        let _ = fs::remove_file(&to);
        fs::copy(&program, &to)
            .map_err(|error| format!("{} to {}: {error}", program.display(), to.display()))?;
    }
    Ok(Some(dist))
}

/// Returns the compiler's host target triple.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| format!("starting rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".into())
}
