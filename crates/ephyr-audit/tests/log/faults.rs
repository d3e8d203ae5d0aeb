//! Regression tests for known faults of audit logs: truncation, forged lines, oversized records.

use std::os::unix::fs::MetadataExt as _;

use ephyr_audit::{Event, Fault, Filter, OpenError, Text, Writer, query};
use ephyr_chain::{ChainOpenError, ChainWriteError, LineFault, MAX_LINE};
use sha2::{Digest as _, Sha256};

use crate::support::*;

#[test]
fn w25_truncated_log_neither_verifies_nor_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    for _ in 0..5 {
        append(&writer, &exec("true"));
    }
    signer.countersign(&writer);
    drop(writer);
    let whole = lines(&text(&path));
    assert!(verify_text(&text(&path), &signer.ca(), &[shipped(&path)]).is_ok());
    for kept in 1..=5 {
        let cut = whole[..kept].join("\n") + "\n";
        std::fs::write(&path, &cut).unwrap();
        let error = verify_text(&cut, &signer.ca(), &[shipped(&path)]).unwrap_err();
        let Fault::Truncated { signed, present } = error.fault else {
            panic!("{error}");
        };
        assert_eq!((signed, present), (6, kept as u64));
        let refused = Writer::open(&path, &options()).unwrap_err();
        assert!(
            matches!(refused, OpenError::Truncated { signed: 6, .. }),
            "{refused}"
        );
    }
}

#[test]
fn w25_forged_line_without_a_hash_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    append(&open(&path), &exec("true"));
    let forged = serde_json::to_string(&exec("forged")).unwrap();
    let with = text(&path) + &forged + "\n";
    let error = verify_text(&with, &Signer::new(1).ca(), &[]).unwrap_err();
    assert!(matches!(
        (error.line, error.fault),
        (3, Fault::Line(LineFault::NoHash))
    ));
    std::fs::write(&path, &with).unwrap();
    let refused = Writer::open(&path, &options()).unwrap_err();
    assert!(matches!(
        refused,
        OpenError::File(ChainOpenError::Broken {
            line: 3,
            fault: LineFault::NoHash,
            ..
        })
    ));
    // A line that is not JSON is rejected in the same way.
    std::fs::write(&path, text(&path).replace(&forged, "garbage")).unwrap();
    assert!(Writer::open(&path, &options()).is_err());
}

#[test]
fn w25_log_rehashed_without_the_signers_key_does_not_verify() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    for n in 0..5 {
        append(&writer, &exec(&format!("command {n}")));
    }
    signer.countersign(&writer);
    append(&writer, &exec("later"));
    let mut changed = lines(&text(&path));
    assert_eq!(
        rehash(&changed),
        text(&path),
        "rehash reproduces the original chain"
    );
    changed[3] = changed[3].replace("command 2", "command X");
    let error = verify_text(&rehash(&changed), &signer.ca(), &[]).unwrap_err();
    assert!(matches!(
        (error.line, error.fault),
        (7, Fault::Rewritten(6))
    ));
}

#[test]
fn w25_restart_finds_a_last_record_of_any_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    for n in 0..4usize {
        let (writer, report) = Writer::open(&path, &options()).unwrap();
        assert_eq!(report.created, n == 0);
        let mut long = exec(&"\u{1}".repeat(5000 * n));
        for key in 0..3 {
            long.detail.insert(&format!("k{key}"), "\"".repeat(4000));
        }
        append(&writer, &long);
    }
    let last = text(&path).lines().last().unwrap().len();
    assert!(last > 4096 + 2048, "{last}");
    let report = verify_text(&text(&path), &Signer::new(1).ca(), &[]).unwrap();
    assert_eq!(report.records, 5);
}

#[test]
fn w25_command_cut_at_its_limit_stays_utf8_and_keeps_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let mut originals = Vec::new();
    for character in ["é", "漢", "😀", "\u{1}", "\u{202e}"] {
        for shift in 0..4 {
            let command = "x".repeat(shift) + &character.repeat(5000);
            append(&writer, &exec(&command));
            originals.push(command);
        }
    }
    let filter = Filter {
        events: vec![Event::ExecAttempt],
        ..Filter::default()
    };
    let content = text(&path);
    let commands = query(content.as_bytes(), &filter).map(|stored| stored.unwrap().record);
    for (record, original) in commands.zip(&originals) {
        let command = record.action.unwrap().command.unwrap();
        assert!(original.starts_with(command.as_str()) && command.as_str().len() > 600);
        let whole = command.whole().unwrap();
        assert_eq!(whole.bytes, original.len() as u64);
        assert_eq!(whole.sha256.0, <[u8; 32]>::from(Sha256::digest(original)));
    }
    assert!(verify_text(&content, &Signer::new(1).ca(), &[]).is_ok());
}

#[test]
fn w25_180_kilobytes_of_hostile_text_stay_within_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let mut hostile = exec(&"<".repeat(180_000)).with_detail("stderr", "<".repeat(180_000));
    append(&writer, &hostile);
    if let Some(action) = &mut hostile.action {
        action.command = Some(Text::from_bytes(&[0xff; 180_000]));
        action.url = Some(Text::new(&"\u{0}".repeat(180_000)));
    }
    for key in 0..50 {
        hostile
            .detail
            .insert(&format!("{key}{}", "\"".repeat(900)), "\u{7f}".repeat(9000));
    }
    hostile.id = ephyr_audit::new_record_id(now());
    append(&writer, &hostile);
    drop(writer);
    let content = text(&path);
    assert!(content.lines().all(|line| line.len() < MAX_LINE));
    assert_eq!(
        content.lines().nth(1).unwrap().matches("<<<<").count(),
        (4096 + 1024) / 4
    );
    let report = verify_text(&content, &Signer::new(1).ca(), &[]).unwrap();
    assert_eq!(report.records, 3);
    append(&open(&path), &exec("after the restart"));
}

#[test]
fn w25_rotation_does_not_break_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    append(&writer, &exec("before"));
    writer.rotate().unwrap();
    append(&writer, &exec("after"));
    drop(writer);
    append(&open(&path), &exec("after a restart"));
    let report = verify_files(
        &path,
        &Signer::new(1).ca(),
        &ephyr_audit::VerifyOptions::default(),
    );
    assert_eq!(report.unwrap().records, 5);
}

#[test]
fn w25_truncating_the_open_file_stops_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    append(&writer, &exec("before"));
    std::fs::write(&path, "").unwrap();
    let refused = append_blocking(&writer, &exec("after"));
    assert!(matches!(
        refused,
        Err(ephyr_audit::AuditError::File(ChainWriteError::Changed {
            found: 0,
            ..
        }))
    ));
    assert!(writer.failure().is_some());
}

#[test]
fn incomplete_last_line_is_moved_aside_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    append(&open(&path), &exec("before"));
    let torn = r#"{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","time":"2026-"#;
    std::fs::write(&path, text(&path) + torn).unwrap();
    let (writer, report) = Writer::open(&path, &options()).unwrap();
    let aside = report.torn.unwrap();
    assert_eq!(std::fs::read_to_string(&aside.path).unwrap(), torn);
    assert_eq!(
        std::fs::metadata(&aside.path).unwrap().mode() & 0o7777,
        0o600
    );
    append(&writer, &exec("after"));
    let filter = Filter {
        events: vec![Event::LogRecovered],
        ..Filter::default()
    };
    let content = text(&path);
    let recovered = query(content.as_bytes(), &filter).next().unwrap().unwrap();
    assert_eq!(
        recovered.record.detail.get("bytes"),
        Some(torn.len().to_string().as_str())
    );
    assert_eq!(
        verify_text(&content, &Signer::new(1).ca(), &[])
            .unwrap()
            .records,
        4
    );
}

#[test]
fn log_with_only_an_incomplete_line_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    std::fs::write(&path, vec![0u8; 40_000]).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let (writer, report) = Writer::open(&path, &options()).unwrap();
    assert_eq!(report.torn.unwrap().bytes, 40_000);
    assert_eq!((report.created, writer.position().count), (true, 2));
    assert!(verify_text(&text(&path), &Signer::new(1).ca(), &[]).is_ok());
}

#[test]
fn modified_complete_last_line_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    append(&open(&path), &exec("original"));
    let changed = text(&path).replace("original", "changed!");
    std::fs::write(&path, &changed).unwrap();
    let refused = Writer::open(&path, &options()).unwrap_err();
    assert!(matches!(
        refused,
        OpenError::File(ChainOpenError::Broken {
            line: 2,
            fault: LineFault::Mismatch,
            ..
        })
    ));
    assert_eq!(text(&path), changed, "the file is unchanged");
}
