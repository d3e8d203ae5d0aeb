//! Compares a chained file with a model across reopening and crashes.

use std::path::PathBuf;

use ephyr_chain::{ChainFile, Line, LineFault, from_zero};
use ephyr_names::Timestamp;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const NOW: Timestamp = Timestamp::from_unix_millis(1_764_000_000_123);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct TestRecord {
    number: u32,
    text: String,
}

#[derive(Debug, Clone)]
enum FileStep {
    Append(TestRecord),
    Sync,
    Reopen,
    Crash(Vec<u8>),
}

fn any_step() -> impl Strategy<Value = FileStep> {
    prop_oneof![
        5 => (any::<u32>(), ".{0,40}").prop_map(|(number, text)| FileStep::Append(TestRecord { number, text })),
        2 => Just(FileStep::Sync),
        1 => Just(FileStep::Reopen),
        1 => prop::collection::vec(0x20..0x7fu8, 1..80).prop_map(FileStep::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Compares the file with a list: it contains the synced records in order, and nothing else.
    #[test]
    fn file_contains_exactly_the_synced_records(steps in prop::collection::vec(any_step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("journal");
        let reopen = || {
            let mut seen = Vec::new();
            let mut visit = |line: &Line<'_>| -> Result<(), LineFault> {
                seen.push(line.parse::<TestRecord>()?);
                Ok(())
            };
            let (file, opened) = ChainFile::open(&path, NOW, from_zero, &mut visit).unwrap();
            (file, opened, seen)
        };
        let (mut synced, mut staged) = (Vec::new(), Vec::new());
        let mut file = Some(reopen().0);
        for step in steps {
            let open = file.as_mut().unwrap();
            match step {
                FileStep::Append(entry) => {
                    open.append(&entry).unwrap();
                    staged.push(entry);
                }
                FileStep::Sync => {
                    open.sync().unwrap();
                    synced.append(&mut staged);
                }
                FileStep::Reopen | FileStep::Crash(_) => {
                    staged.clear();
                    drop(file.take());
                    let torn = if let FileStep::Crash(rest) = &step {
                        let all = [&std::fs::read(&path).unwrap()[..], rest].concat();
                        std::fs::write(&path, all).unwrap();
                        true
                    } else {
                        false
                    };
                    let (again, opened, seen) = reopen();
                    prop_assert_eq!(opened.torn.is_some(), torn);
                    prop_assert_eq!(again.lines(), synced.len() as u64);
                    prop_assert_eq!(&seen, &synced);
                    file = Some(again);
                }
            }
        }
    }
}
