//! Checks that the tests named in `docs/faults.md` and `docs/threat-model.md` exist.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
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

/// Returns whether a line of `docs/threat-model.md` is the row of a threat, such as `| T12 | …`.
fn is_threat(line: &&str) -> bool {
    line.strip_prefix("| T")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Proofs are written `crate::function`, or as the path of a file such as a scenario.
#[test]
fn every_proof_in_the_threat_model_exists_and_no_number_is_missing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let model = fs::read_to_string(root.join("docs/threat-model.md")).unwrap();
    let mut tests: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    let mut gone = Vec::new();
    for row in model.lines().filter(is_threat) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, number, _, _, proof, _, _] = cells[..] else {
            panic!("not five cells: {row}");
        };
        let parsed = number
            .strip_prefix('T')
            .and_then(|n| n.parse::<usize>().ok());
        let parsed = parsed.unwrap_or_else(|| panic!("not a number: {row}"));
        assert!(numbers.insert(parsed), "{number} is given twice");
        assert!(proof == "no test" || proof.contains('`'), "no proof: {row}");
        for name in proof.split('`').skip(1).step_by(2) {
            let exists = match name.split_once("::") {
                None => root.join(name).is_file(),
                Some((package, function)) => {
                    let found = tests.entry(package).or_insert_with(|| {
                        let mut found = BTreeSet::new();
                        let library = root.join("crates").join(package);
                        // `xtask` is beside `crates`.
                        let dir = if library.is_dir() {
                            library
                        } else {
                            root.join(package)
                        };
                        if dir.is_dir() {
                            functions(&dir, &mut found);
                        }
                        found
                    });
                    found.contains(function)
                }
            };
            if !exists {
                gone.push(format!("{number}: {name}"));
            }
        }
    }
    assert!(
        gone.is_empty(),
        "the threat model names proofs that are gone: {gone:?}"
    );
    let all: BTreeSet<usize> = (1..=numbers.len()).collect();
    assert!(numbers.len() > 40, "{numbers:?}");
    assert_eq!(numbers, all, "numbers of threats are missing");
}
