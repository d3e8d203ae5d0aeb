//! Creates a world's directory: its files, their owners and modes.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::accounts::{self, Account, Accounts, Footing};
use crate::error::{Context as _, Error, Result};
use crate::keys::CaKey;

/// Creates a temporary directory that other users can traverse, with a path short enough for sockets.
pub(super) fn make_directory() -> Result<TempDir> {
    let usual = std::env::temp_dir();
    let passable = usual
        .ancestors()
        .all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0));
    // The keeper may mount over /run, and a socket path is limited to 107 bytes.
    let fits = passable && !usual.starts_with("/run") && usual.as_os_str().len() < 60;
    let base = if fits { usual } else { PathBuf::from("/tmp") };
    let dir = tempfile::Builder::new()
        .prefix("ephyr-")
        .tempdir_in(&base)
        .context(|| format!("creating a directory in {}", base.display()))?;
    set_mode(dir.path(), 0o755)?;
    Ok(dir)
}

/// Creates the subdirectories and, where accounts are separate, the account databases in `etc`.
pub(super) fn lay_out(dir: &Path, accounts: &Accounts) -> Result<()> {
    for (name, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("policy", 0o755),
        ("log", 0o755),
    ] {
        make(&dir.join(name), mode, None)?;
    }
    make(&dir.join("home"), 0o755, None)?;
    let signer = accounts.get(accounts::SIGNER)?;
    let broker = accounts.get(accounts::BROKER)?;
    let with_group = |account: &Account, group: &str| {
        Some((account.uid, accounts.group(group).unwrap_or(account.gid)))
    };
    let own = |account: &Account| Some((account.uid, account.gid));
    make(&dir.join("signer"), 0o700, own(signer))?;
    make(
        &dir.join("signer-run"),
        0o750,
        with_group(signer, accounts::SIGNER_CLIENTS),
    )?;
    make(
        &dir.join("broker-run"),
        0o750,
        with_group(broker, accounts::AGENTS),
    )?;
    for name in ["state", "audit", "credentials"] {
        make(&dir.join(name), 0o700, own(broker))?;
    }
    if accounts.footing == Footing::Plain {
        return Ok(());
    }
    for user in accounts.users() {
        make(&dir.join("home").join(&user.name), 0o755, own(user))?;
    }
    for (file, text) in accounts.files(&dir.join("home").to_string_lossy())? {
        let path = dir.join("etc").join(file);
        fs::write(&path, text).context(|| format!("writing {}", path.display()))?;
        set_mode(&path, if file == "shadow" { 0o600 } else { 0o644 })?;
    }
    Ok(())
}

pub(super) fn make(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    fs::create_dir(path).context(|| format!("creating {}", path.display()))?;
    set_mode(path, mode)?;
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid))
            .context(|| format!("changing the owner of {}", path.display()))?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .context(|| format!("setting the mode of {}", path.display()))
}

/// Puts the programs into `bin`: copies if other users must execute them, otherwise links.
pub(super) fn link_programs(dir: &Path, programs: &[PathBuf]) -> Result<()> {
    for program in programs {
        let destination = dir
            .join("bin")
            .join(program.file_name().unwrap_or_default());
        if rustix::process::geteuid().is_root() {
            fs::copy(program, &destination).map(drop)
        } else {
            std::os::unix::fs::symlink(program, &destination)
        }
        .context(|| format!("installing {}", destination.display()))?;
    }
    Ok(())
}

pub(super) fn write_ca(dir: &Path, ca: &CaKey, accounts: &Accounts) -> Result<()> {
    let key = dir.join("signer/ca_key");
    ca.write(&key)?;
    let signer = accounts.get(accounts::SIGNER)?;
    chown(&key, Some(signer.uid), Some(signer.gid))
        .context(|| "changing the owner of the CA key".into())?;
    let public = dir.join("ca.pub");
    fs::write(&public, ca.public_line()? + "\n").context(|| "writing ca.pub".into())
}

/// Finds a program of the workspace: in `EPHYR_BIN_DIR`, beside the running program, or one directory
/// up (test programs are in `deps`).
pub(super) fn find_binary(name: &str) -> Result<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("EPHYR_BIN_DIR")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    let own = std::env::current_exe().context(|| "locating the running program".into())?;
    places.extend(own.ancestors().skip(1).take(2).map(Path::to_owned));
    places
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(format!(
                "{name} not found beside {}; build it first: cargo build --profile ci --bins",
                own.display()
            ))
        })
}
