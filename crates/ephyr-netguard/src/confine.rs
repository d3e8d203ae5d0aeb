//! The sandbox of `watch`: only netlink, `nft`, the policy's directory and the status file stay accessible.

use std::fs;
use std::io;
use std::path::Path;

use ephyr_sandbox::{Confinement, Filter, LandlockReport, SandboxError};

/// Paths of programs and libraries. Missing ones are skipped.
const PROGRAMS: [&str; 6] = [
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
];

/// Confines the process and its child `nft` irrevocably.
pub(crate) fn confine(
    policy: &Path,
    program: &Path,
    status: &Path,
    minimum_abi: u32,
) -> Result<LandlockReport, SandboxError> {
    let mut confinement = Confinement::new(minimum_abi);
    // Updates replace the files by rename, so grant their directories.
    for path in [policy.to_path_buf(), canonical(policy)?] {
        confinement = confinement.read(directory(&path));
    }
    for path in PROGRAMS {
        confinement = confinement.execute_if_present(path);
    }
    for path in [program.to_path_buf(), canonical(program)?] {
        confinement = confinement.execute_if_present(directory(&path));
    }
    if directory(status).is_dir() {
        confinement = confinement.write(directory(status));
    }
    let report = confinement.apply()?;
    Filter::Launcher.apply()?;
    Ok(report)
}

fn canonical(path: &Path) -> Result<std::path::PathBuf, SandboxError> {
    fs::canonicalize(path).map_err(|why: io::Error| SandboxError::Path {
        path: path.to_path_buf(),
        why,
    })
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
