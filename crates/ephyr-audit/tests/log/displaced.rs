//! A log whose file is removed, renamed or replaced: no action succeeds without a record, and the log continues in a new
//! file that begins with an alert.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ephyr_audit::{
    AuditError, Event, Filter, Severity, Stored, VerifyOptions, Writer, log_files, query,
};
use ephyr_sandbox::Displaced;

use crate::support::*;

/// Returns the first records of all files whose predecessor was displaced.
fn alerts(path: &Path) -> Vec<Stored> {
    let filter = Filter {
        events: vec![Event::LogContinued],
        severity: Some(Severity::Alert),
        ..Filter::default()
    };
    let files = log_files(path).unwrap();
    let texts = files.iter().map(|file| fs::read(file).unwrap());
    texts
        .flat_map(|text| query(&text[..], &filter).collect::<Vec<_>>())
        .map(Result::unwrap)
        .collect()
}

#[test]
fn displaced_log_rejects_and_continues_in_a_new_file() {
    type Take = fn(&Path, &Path);
    let ways: [(&str, Take); 4] = [
        ("removed", |log, _| fs::remove_file(log).unwrap()),
        ("renamed", |log, away| fs::rename(log, away).unwrap()),
        ("replaced", |log, away| {
            fs::rename(log, away).unwrap();
            fs::write(log, "").unwrap();
        }),
        ("replaced", |log, _| {
            let changed = text(log).replace("before", "BEFORE");
            fs::remove_file(log).unwrap();
            fs::write(log, changed).unwrap();
        }),
    ];
    for (way, take) in ways {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let (mut signer, writer) = (Signer::new(1), open(&path));
        append(&writer, &exec("countersigned before"));
        signer.countersign(&writer);
        append(&writer, &exec("not countersigned before"));
        let count = writer.position().count;
        take(&path, &dir.path().join("away"));
        let refused = append_blocking(&writer, &exec("never")).unwrap_err();
        let how = refused.displaced().map(Displaced::as_str);
        assert_eq!(how, Some(way), "{refused}");
        assert!(refused.to_string().contains("nothing is done unrecorded"));
        assert!(writer.last_failure().is_some());
        append(&writer, &exec("after"));
        assert!(writer.failure().is_none() && writer.last_failure().is_some());

        signer.countersign(&writer);
        let report = verify_files(&path, &signer.ca(), &VerifyOptions::default()).unwrap();
        assert_eq!((report.taken_away, report.unsigned), (1, 0), "{way}");
        assert_eq!(report.records, writer.position().count);
        assert_eq!(report.open_attempts.len(), 3, "none of `never`");
        let alerts = alerts(&path);
        let [alert] = &alerts[..] else {
            panic!("{alerts:?}");
        };
        assert_eq!(alert.record.detail.get("taken_away"), Some(way));
        assert_eq!(alert.record.log.unwrap().count, count);
        let aside = alert.record.detail.get("moved_aside");
        assert_eq!(aside.is_some(), way == "replaced");
        assert!(aside.is_none_or(|aside| dir.path().join(aside).exists()));
        drop(writer);

        // After a restart the log accepts records, and all of them can be countersigned.
        let (writer, found) = Writer::open(&path, &options()).unwrap();
        assert!(!found.created);
        append(&writer, &exec("later"));
        signer.countersign(&writer);
        let report = verify_files(&path, &signer.ca(), &VerifyOptions::default()).unwrap();
        assert_eq!((report.open_attempts.len(), report.unsigned), (4, 0));
    }
}

#[test]
fn file_of_equal_length_is_not_mistaken_for_the_copy() {
    for (same, kept) in [(false, "x"), (true, "")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let writer = open(&path);
        append(&writer, &exec("before"));
        let content = text(&path);
        let log = content
            .split("\"log\":\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next();
        let name = format!("audit.log.{}.000000000000", log.unwrap());
        let other = format!("{kept}{}", &content[kept.len()..]);
        assert_eq!((other.len(), other == content), (content.len(), same));
        fs::write(dir.path().join(&name), other).unwrap();
        fs::remove_file(&path).unwrap();
        append_blocking(&writer, &exec("never")).unwrap_err();
        let next = append_blocking(&writer, &exec("after"));
        assert_eq!(next.is_ok(), same, "{next:?}");
        // The copy is kept if no other file has the records.
        let copy = dir.path().join(format!("{name}.next"));
        assert_eq!(copy.exists(), !same);
    }
}

#[test]
fn additional_link_and_rotation_do_not_displace_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    append(&writer, &exec("true"));
    fs::hard_link(&path, dir.path().join("snapshot")).unwrap();
    append(&writer, &exec("true"));
    writer.rotate().unwrap();
    append(&writer, &exec("true"));
    // The file is renamed and put back before any action.
    fs::rename(&path, dir.path().join("away")).unwrap();
    fs::rename(dir.path().join("away"), &path).unwrap();
    append(&writer, &exec("true"));
    assert!(writer.last_failure().is_none());
    let report = verify_files(&path, &Signer::new(1).ca(), &VerifyOptions::default()).unwrap();
    assert_eq!((report.taken_away, report.open_attempts.len()), (0, 4));
}

#[test]
fn foreign_file_at_the_path_is_not_rotated_into_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    append(&writer, &exec("true"));
    fs::remove_file(&path).unwrap();
    fs::write(&path, "not a log\n").unwrap();
    assert!(writer.rotate().is_err());
    assert_eq!(text(&path), "not a log\n");
    assert!(append_blocking(&writer, &exec("true")).is_err());
    append(&writer, &exec("true"));
    writer.rotate().unwrap();
    verify_files(&path, &Signer::new(1).ca(), &VerifyOptions::default()).unwrap();
}

/// Waits for a result of the background check.
fn eventually(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn idle_displaced_log_continues_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    append(&writer, &exec("true"));
    writer.look();
    writer.flush().unwrap();
    assert!(writer.last_failure().is_none());
    fs::remove_file(&path).unwrap();
    writer.look();
    eventually("the failure", || writer.last_failure().is_some());
    eventually("the new file", || writer.failure().is_none());
    assert_eq!(alerts(&path).len(), 1);
}

#[test]
fn log_that_cannot_be_continued_rejects_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    append(&writer, &exec("before"));
    let log = writer.position().log;
    // A foreign file has the name under which the records would be kept.
    let taken = dir.path().join(format!("audit.log.{log}.000000000000"));
    fs::write(&taken, "evidence").unwrap();
    fs::remove_file(&path).unwrap();
    let mut last = append_blocking(&writer, &exec("never")).unwrap_err();
    for _ in 0..2 {
        last = append_blocking(&writer, &exec("never")).unwrap_err();
    }
    let AuditError::NotContinued { why, .. } = &last else {
        panic!("{last}");
    };
    assert!(why.contains("audit.log."), "{why}");
    assert_eq!(fs::read(&taken).unwrap(), b"evidence");
    fs::remove_file(&taken).unwrap();
    append(&writer, &exec("after"));
    assert!(text(&taken).contains("before"));
    let report = verify_files(&path, &Signer::new(1).ca(), &VerifyOptions::default()).unwrap();
    assert_eq!((report.taken_away, report.open_attempts.len()), (1, 2));
}
