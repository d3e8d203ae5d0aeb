//! Every committed input of every fuzz target satisfies its property.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ephyr_properties::{PROPERTIES, Property};

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
fn properties_targets_and_corpora_match() {
    let known: BTreeSet<String> = PROPERTIES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names_in(&fuzz().join("fuzz_targets")), known);
    assert_eq!(names_in(&fuzz().join("corpus")), known);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &known {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        // Compared literally, since the tests do not compile the targets.
        let target = fs::read_to_string(fuzz().join("fuzz_targets").join(format!("{name}.rs")));
        let call = format!("ephyr_fuzz::check(ephyr_properties::{name}(input))");
        let wanted =
            format!("#![no_main]\n\nlibfuzzer_sys::fuzz_target!(|input: &[u8]| {call});\n");
        assert_eq!(target.unwrap(), wanted, "{name}");
    }
}

fn property(name: &str) -> Property {
    let (_, property) = PROPERTIES.iter().find(|(known, _)| *known == name).unwrap();
    *property
}

/// Returns the committed inputs of a target, sorted by path.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(fuzz().join("corpus").join(name)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let input = fs::read(&path).unwrap();
            (path, input)
        })
        .collect()
}

fn replay(name: &str) {
    let property = property(name);
    let mut seen = 0;
    for (path, input) in corpus(name) {
        if let Err(violation) = property(&input) {
            panic!("{}: {violation}", path.display());
        }
        // Like a fuzzer's first steps: truncate the input, and change one byte.
        for at in (0..input.len()).step_by(1 + input.len() / 64) {
            let mut changed = input.clone();
            changed[at] ^= 1;
            for other in [&input[..at], &changed] {
                if let Err(violation) = property(other) {
                    panic!("{} changed at {at}: {violation}", path.display());
                }
            }
        }
        seen += 1;
    }
    assert!(seen > 1, "only {seen} inputs");
}

/// The number of random inputs per target; `EPHYR_FUZZ_ROUNDS` overrides it.
const ROUNDS: u64 = 1500;
/// The seed, fixed so that only a code change can make a run fail; `EPHYR_FUZZ_SEED` overrides it.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn env_number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().ok().filter(|number| *number > 0);
    Some(number.unwrap_or_else(|| panic!("{variable}={text}: not a positive number")))
}

/// The random number generator xorshift64*; its state must not be zero.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % end.max(1)
    }

    /// Mutates an input like a fuzzer: changes bits and bytes, and removes, duplicates or splices pieces.
    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b' '][self.below(6)],
            2 => drop(input.drain(at..end.max(at))),
            3 => {
                let piece = input[at..end.max(at)].to_vec();
                input.splice(at..at, piece);
            }
            4 => input.truncate(at),
            _ => {
                let from = self.below(other.len() + 1);
                let to = (from + 1 + self.below(64)).min(other.len());
                input.splice(at..end.max(at), other[from..to.max(from)].iter().copied());
            }
        }
    }
}

/// Checks the property on random mutations of the committed inputs.
fn smoke(name: &str) {
    let property = property(name);
    let corpus = corpus(name);
    let seed = env_number("EPHYR_FUZZ_SEED").unwrap_or(SEED);
    let mut rng = Rng(seed);
    for round in 0..env_number("EPHYR_FUZZ_ROUNDS").unwrap_or(ROUNDS) {
        let mut input = corpus[rng.below(corpus.len())].1.clone();
        for _ in 0..=rng.below(4) {
            let other = &corpus[rng.below(corpus.len())].1;
            rng.mutate(&mut input, other);
        }
        if let Err(violation) = property(&input) {
            let kept = std::env::temp_dir().join(format!("ephyr-{name}-{seed}-{round}"));
            fs::write(&kept, &input).unwrap();
            panic!("{violation}; the input is in {}", kept.display());
        }
    }
}

macro_rules! replays {
    ($($name:ident)*) => { $(
        mod $name {
            #[test]
            fn committed_inputs_satisfy_the_property() {
                super::replay(stringify!($name));
            }

            #[test]
            fn random_inputs_satisfy_the_property() {
                super::smoke(stringify!($name));
            }
        }
    )* };
}

replays! { caveat_parse policy_yaml proof_check reduce_monotonic signer_frames task_envelope token_decode }

#[test]
fn mutations_find_a_one_byte_violation() {
    let mut rng = Rng(SEED);
    let found = (0..ROUNDS).any(|_| {
        let mut input = b"caveat = 1".to_vec();
        rng.mutate(&mut input, b"delegation_depth <= 7");
        input.contains(&b'7')
    });
    assert!(found);
}
