//! `docs/faults.md` is only worth something while its tests are there.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The functions that the Rust files below a directory define.
fn functions(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                let line = line.trim_start().trim_start_matches("async ");
                if let Some(rest) = line.strip_prefix("fn ") {
                    let end = rest.find(['(', '<']).unwrap_or(rest.len());
                    found.insert(rest[..end].to_owned());
                }
            }
        }
    }
}

#[test]
fn every_test_in_the_ledger_exists_and_every_numbered_test_is_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let ledger = fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let mut found = BTreeSet::new();
    functions(&root.join("crates"), &mut found);
    let named: BTreeSet<&str> = ledger
        .lines()
        .filter(|line| line.starts_with("| W") || line.starts_with("| R"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|word| word.contains('_') && !word.contains([' ', ':']))
        .filter(|word| !matches!(*word, "task_create"))
        .collect();
    assert!(named.len() > 50, "{named:?}");
    let gone: Vec<_> = named
        .iter()
        .filter(|name| !found.contains(**name))
        .collect();
    assert!(
        gone.is_empty(),
        "the ledger names tests that are gone: {gone:?}"
    );
    let is_numbered = |name: &&String| {
        name.strip_prefix('w')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let missing: Vec<_> = found
        .iter()
        .filter(is_numbered)
        .filter(|name| !named.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "tests that the ledger does not name: {missing:?}"
    );
}
