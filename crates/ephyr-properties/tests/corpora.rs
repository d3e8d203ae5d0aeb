//! Every committed input of every fuzz target keeps what its property says.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ephyr_properties::PROPERTIES;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_property_has_a_target_and_a_corpus_and_there_are_no_others() {
    let known: BTreeSet<String> = PROPERTIES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names_in(&fuzz().join("fuzz_targets")), known);
    assert_eq!(names_in(&fuzz().join("corpus")), known);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &known {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let target = fs::read_to_string(fuzz().join("fuzz_targets").join(format!("{name}.rs")));
        assert!(target.unwrap().contains(&format!("{name}(")), "{name}");
    }
}

fn replay(name: &str) {
    let (_, property) = PROPERTIES.iter().find(|(known, _)| *known == name).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(fuzz().join("corpus").join(name)).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        if let Err(how) = property(&input) {
            panic!("{}: {how}", path.display());
        }
        // What a fuzzer tries first: a piece of it, and one byte of it changed.
        for at in (0..input.len()).step_by(1 + input.len() / 64) {
            let mut changed = input.clone();
            changed[at] ^= 1;
            for other in [&input[..at], &changed] {
                if let Err(how) = property(other) {
                    panic!("{} changed at {at}: {how}", path.display());
                }
            }
        }
        seen += 1;
    }
    assert!(seen > 1, "only {seen} inputs");
}

macro_rules! replays {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            replay(stringify!($name));
        }
    )* };
}

replays! { caveat_parse policy_yaml proof_check reduce_monotonic signer_frames task_envelope token_decode }
