//! Properties over arbitrary records and arbitrary changes to the file.

use std::sync::OnceLock;

use ephyr_audit::{ActionInfo, ActionKind, DecisionInfo, Event, Filter, Record, Text, query};
use ephyr_chain::{Checkpoint, MAX_LINE};
use ephyr_names::{Digest, Serial, TaskId, Timestamp};
use proptest::prelude::*;

use crate::support::*;

fn any_event() -> impl Strategy<Value = Event> {
    // Records that only the log itself writes have additional constraints.
    let own = [Event::LogOpened, Event::LogContinued, Event::Checkpoint];
    let others: Vec<_> = Event::ALL
        .iter()
        .copied()
        .filter(|event| !own.contains(event))
        .collect();
    prop::sample::select(others)
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        ".{0,60}".prop_map(String::into_bytes),
        (any::<u8>(), 0..20_000usize).prop_map(|(byte, n)| vec![byte; n]),
        (any::<char>(), 0..9_000usize).prop_map(|(c, n)| c.to_string().repeat(n).into_bytes()),
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    (
        (any_event(), 0..=4_000_000_000_000i64, any::<u64>()),
        (any_bytes(), any_bytes(), any_bytes()),
        prop::collection::vec((any_bytes(), any_bytes()), 0..20),
        prop::collection::vec(any::<u128>(), 0..6),
    )
        .prop_map(
            |((event, time, number), (command, url, reason), detail, lineage)| {
                let time = Timestamp::from_unix_millis(time);
                let id = ephyr_audit::new_record_id(time);
                let mut record = Record::new(id, time, event, Digest([1; 32]))
                    .with_lineage(lineage.into_iter().map(TaskId::from_bits));
                record.serial = Some(Serial(number));
                record.duration_ms = Some(number);
                record.action = Some(ActionInfo {
                    command: Some(Text::from_bytes(&command)),
                    url: Some(Text::from_bytes(&url)),
                    ..ActionInfo::new(ActionKind::Exec)
                });
                record.decision = Some(DecisionInfo {
                    step: Some(8),
                    reason: Text::from_bytes(&reason),
                    rule: Some(Text::from_bytes(&url)),
                });
                for (key, value) in detail {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    record.detail.insert(&key, Text::from_bytes(&value));
                }
                record
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_record_is_one_bounded_line_and_round_trips(
        records in prop::collection::vec(any_record(), 1..6)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let writer = open(&path);
        for record in &records {
            append(&writer, record);
        }
        drop(writer);
        let content = text(&path);
        prop_assert!(content.lines().all(|line| line.len() < MAX_LINE));
        prop_assert!(!content.contains(|c: char| c != '\n' && c.is_control()));
        let read: Vec<_> = query(content.as_bytes(), &Filter::default())
            .skip(1)
            .map(|stored| stored.unwrap())
            .collect();
        prop_assert_eq!(read.iter().map(|s| s.record.clone()).collect::<Vec<_>>(), records);
        for (stored, line) in read.iter().zip(content.lines().skip(1)) {
            prop_assert_eq!(stored.json(), line);
        }
        prop_assert_eq!(rehash(&lines(&content)), content);
        // The log can be opened again.
        drop(open(&path));
    }
}

/// An attacker's change to a file.
#[derive(Debug, Clone)]
enum Attack {
    Flip(usize, u8),
    Remove(usize),
    Double(usize, usize),
    Swap(usize, usize),
    Cut(usize),
    Insert(usize, Vec<u8>),
}

fn any_attack() -> impl Strategy<Value = Attack> {
    let at = || any::<usize>();
    prop_oneof![
        4 => (at(), 1..=255u8).prop_map(|(at, bits)| Attack::Flip(at, bits)),
        1 => at().prop_map(Attack::Remove),
        1 => (at(), at()).prop_map(|(from, to)| Attack::Double(from, to)),
        1 => (at(), at()).prop_map(|(a, b)| Attack::Swap(a, b)),
        2 => at().prop_map(Attack::Cut),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..50)).prop_map(|(at, bytes)| Attack::Insert(at, bytes)),
    ]
}

fn attacked(original: &[u8], attack: &Attack) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let mut lines: Vec<Vec<u8>> = original
        .split_inclusive(|b| *b == b'\n')
        .map(Vec::from)
        .collect();
    let (n, count) = (bytes.len(), lines.len());
    match attack {
        Attack::Flip(at, bits) => bytes[at % n] ^= bits,
        Attack::Cut(at) => bytes.truncate(at % n),
        Attack::Insert(at, more) => drop(bytes.splice(at % n..at % n, more.iter().copied())),
        Attack::Remove(at) => {
            lines.remove(at % count);
            bytes = lines.concat();
        }
        Attack::Double(from, to) => {
            lines.insert(to % (count + 1), lines[from % count].clone());
            bytes = lines.concat();
        }
        Attack::Swap(a, b) => {
            lines.swap(a % count, b % count);
            bytes = lines.concat();
        }
    }
    bytes
}

/// Returns a log with its shipped checkpoint. All records except the last, which is that checkpoint, are countersigned.
fn signed_log() -> &'static (Vec<u8>, Checkpoint) {
    static LOG: OnceLock<(Vec<u8>, Checkpoint)> = OnceLock::new();
    LOG.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let (mut signer, writer) = (Signer::new(1), open(&path));
        for n in 0..12 {
            append(&writer, &exec(&format!("command {n}")));
        }
        signer.countersign(&writer);
        (std::fs::read(&path).unwrap(), shipped(&path))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_change_to_a_countersigned_log_is_detected(attack in any_attack()) {
        let (original, shipped) = signed_log();
        let changed = attacked(original, &attack);
        // Cutting off exactly the last line leaves all countersigned records.
        let last = original[..original.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
        prop_assume!(changed != *original && changed != original[..last]);
        let options = ephyr_audit::VerifyOptions { shipped: vec![shipped.clone()], partial: false };
        let verdict = ephyr_audit::verify([&changed[..]], &Signer::new(1).ca(), &options);
        prop_assert!(verdict.is_err());
    }
}
