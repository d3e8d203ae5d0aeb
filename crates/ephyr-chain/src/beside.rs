//! Files beside a chained file: their names, and syncing their directory.

use std::fs::File;
use std::path::{Path, PathBuf};

use ephyr_names::Timestamp;

use crate::error::ChainOpenError;

/// Returns the path with `suffix` appended to the file's name.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns candidate paths beside a file: `<path>.<word>-<time>`, then the same with a number in case the name is taken.
pub fn dated_names(path: &Path, word: &str, now: Timestamp) -> impl Iterator<Item = PathBuf> {
    let time = now.to_string().replace(['-', ':'], "");
    let first = with_suffix(path, &format!(".{word}-{time}"));
    (0..100u32).map(move |attempt| match attempt {
        0 => first.clone(),
        _ => with_suffix(&first, &format!("-{attempt}")),
    })
}

/// Returns the directory that contains the file.
#[must_use]
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Syncs the file's directory, so that the name of a new or renamed file is durable too.
///
/// # Errors
/// [`ChainOpenError::Io`]: the directory cannot be opened or synced.
pub fn sync_directory(path: &Path) -> Result<(), ChainOpenError> {
    let directory = directory(path);
    File::open(directory)
        .and_then(|open| open.sync_all())
        .map_err(ChainOpenError::io("sync the directory", directory))
}
