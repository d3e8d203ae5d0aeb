//! Finds the changed crates, for `cargo xtask test --quick`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::run::{self, Show};

/// Files outside of `crates/` that belong to a crate.
const OUTSIDE: [(&str, &str); 5] = [
    ("nft/", "ephyr-netguard"),
    ("nixos-module/units.toml", "ephyr-units"),
    ("policy/", "ephyr-policy"),
    ("fuzz/", "ephyr-properties"),
    ("docs/faults.md", "ephyr-testkit"),
];

/// Returns the crates with uncommitted changes, or those of the last commit if there are none.
///
/// # Errors
/// git is missing, or this is not a working tree.
pub(crate) fn crates() -> Result<BTreeSet<String>, String> {
    let mut files = git(&["diff", "--name-only", "HEAD"])?;
    files.extend(git(&["ls-files", "--others", "--exclude-standard"])?);
    if files.is_empty() {
        files = git(&["diff", "--name-only", "HEAD~1"])?;
    }
    Ok(files.iter().filter_map(|file| crate_of(file)).collect())
}

/// Returns the names of a crate's integration test binaries.
pub(crate) fn test_binaries(name: &str) -> Vec<String> {
    let folder = run::root().join("crates").join(name).join("tests");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension().is_some_and(|kind| kind == "rs") || path.join("main.rs").is_file()
        })
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

fn crate_of(file: &str) -> Option<String> {
    let own = file
        .strip_prefix("crates/")
        .and_then(|rest| rest.split('/').next());
    let outside = || {
        let found = OUTSIDE.iter().find(|(place, _)| file.starts_with(place));
        found.map(|(_, name)| *name)
    };
    own.or_else(outside).map(str::to_owned)
}

fn git(arguments: &[&str]) -> Result<Vec<String>, String> {
    let mut command = std::process::Command::new("git");
    command.args(arguments).current_dir(run::root());
    let done = run::run(&mut command, Show::No, Duration::from_secs(60))?;
    if done.ok {
        Ok(done.output.lines().map(str::to_owned).collect())
    } else {
        Err(format!("git {}: {}", arguments.join(" "), done.last_line()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_belongs_to_the_crate_that_reads_it() {
        for (file, name) in [
            ("crates/ephyr-audit/src/writer.rs", Some("ephyr-audit")),
            ("nft/ephyr.nft", Some("ephyr-netguard")),
            ("policy/reject/x.yaml", Some("ephyr-policy")),
            ("README.md", None),
        ] {
            assert_eq!(crate_of(file).as_deref(), name, "{file}");
        }
    }

    #[test]
    fn test_binaries_are_files_and_folders_with_a_main() {
        let found = test_binaries("ephyr-cli");
        assert!(found.contains(&"target".to_owned()), "{found:?}");
        assert!(found.contains(&"help_and_misuse".to_owned()), "{found:?}");
        assert!(!test_binaries("ephyr-netguard").contains(&"net".to_owned()));
    }
}
