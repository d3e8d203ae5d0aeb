//! `cargo xtask dist`: the programs as they are meant to be installed, under `target/dist`.
//!
//! The signer is built apart: static, for size, and aborting on a panic (profile `signer`). It then maps
//! no library, and half as much memory has to be locked.

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

/// Builds the signer and these packages and gives the directory of their programs; `None` where the
/// compiler refused, which it has said.
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
        // The build has the terminal; what it says goes to standard error, away from any figures.
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
        // A program that runs cannot be written to, but it can be replaced.
        let _ = fs::remove_file(&to);
        fs::copy(&program, &to)
            .map_err(|error| format!("{} to {}: {error}", program.display(), to.display()))?;
    }
    Ok(Some(dist))
}

/// The compiler's own target triple.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| format!("starting rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".into())
}
