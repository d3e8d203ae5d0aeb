//! `ephyr units`: renders the appliance's systemd units for systems without Nix.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ephyr_sandbox::read_regular_text;
use ephyr_units::{File, HEADER, RenderError, Settings, render};
use serde_json::json;

use crate::args::Units;
use crate::ca::standard_input;
use crate::failure::{CANNOT_CREATE, Failure};
use crate::output::Output;

const AGENT_UNITS: &str = "systemd/system";
const AGENT_PREFIX: &str = "ephyr-agent-";
/// The same limit as for the policy, which names the same agents.
const MAX_SETTINGS: usize = 1024 * 1024;

pub(crate) fn run(units: &Units, output: &Output) -> Result<ExitCode, Failure> {
    let Units::Render { out, settings } = units;
    let settings = settings.as_deref().map_or(Ok(Settings::default()), read)?;
    let files = render(&settings).map_err(|error| match error {
        RenderError::Settings(_) => Failure::data(error.to_string()),
        RenderError::Table(_) => Failure::new(CANNOT_CREATE, "table", error.to_string()),
    })?;
    for file in &files {
        let path = out.join(&file.path);
        write(&path, &file.content).map_err(|error| cannot("written", &path, &error))?;
    }
    let removed = remove_stale(out, &files)?;
    let written: Vec<PathBuf> = files.iter().map(|file| out.join(&file.path)).collect();
    let value = json!({"written": written, "removed": removed});
    output.show(&value, || listing(&written, &removed))?;
    Ok(ExitCode::SUCCESS)
}

fn listing(written: &[PathBuf], removed: &[PathBuf]) -> String {
    let line = |change: &str, path: &PathBuf| format!("{change} {}\n", path.display());
    let written = written.iter().map(|path| line("written", path));
    let removed = removed.iter().map(|path| line("removed", path));
    written.chain(removed).collect()
}

fn read(file: &Path) -> Result<Settings, Failure> {
    let text = if file == Path::new("-") {
        standard_input()?
    } else {
        read_regular_text(file, MAX_SETTINGS).map_err(|error| Failure::unreadable(file, &error))?
    };
    serde_json::from_str(&text)
        .map_err(|error| Failure::data(format!("{}: {error}", file.display())))
}

fn cannot(action: &str, path: &Path, error: &io::Error) -> Failure {
    let text = format!("{} cannot be {action}: {error}", path.display());
    Failure::new(CANNOT_CREATE, "cannot_create", text)
}

/// Replaces the file atomically, because systemd may read it at any time.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = directory.join(name);
    let written = fs::File::create(&new).and_then(|mut file| {
        use std::os::unix::fs::PermissionsExt as _;
        file.write_all(content.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Removes the units of agents that are no longer in the settings, if this command wrote them. Returns their paths.
fn remove_stale(out: &Path, files: &[File]) -> Result<Vec<PathBuf>, Failure> {
    let directory = out.join(AGENT_UNITS);
    let entries =
        fs::read_dir(&directory).map_err(|error| Failure::unreadable(&directory, &error))?;
    let mut removed = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kept = files
            .iter()
            .any(|file| file.path == format!("{AGENT_UNITS}/{name}"));
        let is_agent = name.starts_with(AGENT_PREFIX) && name.ends_with(".service");
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if kept || !is_agent || !is_file {
            continue;
        }
        let path = entry.path();
        let content =
            fs::read_to_string(&path).map_err(|error| Failure::unreadable(&path, &error))?;
        if content.starts_with(HEADER) {
            fs::remove_file(&path).map_err(|error| cannot("removed", &path, &error))?;
            removed.push(path);
        }
    }
    removed.sort();
    Ok(removed)
}
