//! The writer in normal operation.

use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ephyr_audit::{
    AuditError, DecisionInfo, Event, Filter, Writer, WriterOptions, find_record, query,
};

use crate::support::*;

#[test]
fn new_log_has_mode_0640_and_begins_with_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (writer, report) = Writer::open(&path, &options()).unwrap();
    assert!(report.created && report.torn.is_none());
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    let first = query(text(&path).as_bytes(), &Filter::default())
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(first.record.event, Event::LogOpened);
    assert_eq!(first.record.id, writer.position().log);
}

#[test]
fn acknowledged_record_is_in_the_file_with_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let wanted = exec("uptime");
    let appended = append(&writer, &wanted);
    let found = find_record(text(&path).as_bytes(), appended.id)
        .unwrap()
        .unwrap();
    assert_eq!((found.record.clone(), found.hash), (wanted, appended.hash));
    assert_eq!(found.json(), text(&path).lines().last().unwrap());
}

#[test]
fn concurrent_appends_complete_each_with_its_own_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let (done, acknowledged) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..250 {
                    let record = exec("true");
                    let (id, done) = (record.id, done.clone());
                    let done = Box::new(move |appended| done.send((id, appended)).unwrap());
                    writer.append_durable(&record, done);
                }
            });
        }
    });
    drop(done);
    let content = {
        writer.flush().unwrap();
        text(&path)
    };
    let mut count = 0;
    for (id, appended) in acknowledged {
        let appended = appended.unwrap();
        assert_eq!(appended.id, id);
        assert!(content.contains(&appended.hash.to_string()));
        count += 1;
    }
    assert_eq!(count, 2000);
    let report = verify_text(&content, &Signer::new(1).ca(), &[]).unwrap();
    assert_eq!(report.records, 2001);
    assert_eq!(report.open_attempts.len(), 2000);
}

#[test]
fn equal_denials_are_merged_into_one_record_with_a_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let denied = |agent: &str, reason: &str| {
        let mut denied = record(Event::Denied);
        denied.agent = Some(agent.parse().unwrap());
        denied.decision = Some(DecisionInfo {
            step: Some(3),
            reason: reason.into(),
            rule: None,
        });
        denied
    };
    for _ in 0..500 {
        writer.append(denied("claude", "role_not_granted")).unwrap();
        writer.append(denied("codex", "role_not_granted")).unwrap();
    }
    writer.append(denied("claude", "target_unknown")).unwrap();
    // Attempts are never merged, because each has its own outcome.
    writer.append(exec("true")).unwrap();
    writer.append(exec("true")).unwrap();
    writer.flush().unwrap();
    let counts = |event: Event| {
        let filter = Filter {
            events: vec![event],
            ..Filter::default()
        };
        let mut counts: Vec<_> = query(text(&path).as_bytes(), &filter)
            .map(|stored| stored.unwrap().record.count)
            .collect();
        counts.sort_unstable();
        counts
    };
    assert_eq!(counts(Event::Denied), [None, Some(500), Some(500)]);
    assert_eq!(counts(Event::ExecAttempt), [None, None]);
}

#[test]
fn relaxed_records_are_written_without_a_waiting_caller() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let wanted = record(Event::Startup);
    writer.append(wanted.clone()).unwrap();
    writer.append(record(Event::Read)).unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while writer.position().count < 3 {
        assert!(
            Instant::now() < patience,
            "the records were not written within 30 s"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        find_record(text(&path).as_bytes(), wanted.id)
            .unwrap()
            .is_some()
    );
}

#[test]
fn full_queue_returns_busy_at_once_and_counts_dropped_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let small = WriterOptions {
        queue: 4,
        ..options()
    };
    let (writer, _) = Writer::open(&path, &small).unwrap();
    // The first record's completion blocks the writer's thread, so that the following records stay queued.
    let (hold, held) = mpsc::channel::<()>();
    let (holding, is_held) = mpsc::channel();
    let done = Box::new(move |_| {
        holding.send(()).unwrap();
        let _ = held.recv();
    });
    writer.append_durable(&exec("first"), done);
    is_held.recv().unwrap();
    let (done, results) = mpsc::channel();
    for _ in 0..6 {
        let done = done.clone();
        writer.append_durable(&exec("more"), Box::new(move |r| done.send(r).unwrap()));
    }
    for _ in 0..2 {
        assert!(matches!(results.recv().unwrap(), Err(AuditError::Busy)));
    }
    let relaxed = (0..7).map(|_| writer.append(record(Event::Startup)));
    assert_eq!(relaxed.filter(Result::is_err).count(), 3);
    drop(hold);
    for _ in 0..4 {
        assert!(results.recv().unwrap().is_ok());
    }
    writer.flush().unwrap();
    let report = verify_text(&text(&path), &Signer::new(1).ca(), &[]).unwrap();
    assert_eq!(report.lost, 3);
    assert!(writer.failure().is_none());
}

#[test]
fn panicking_completion_does_not_stop_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(&dir.path().join("audit.log"));
    writer.append_durable(&exec("one"), Box::new(|_| panic!("panic of a completion")));
    append(&writer, &exec("two"));
    assert_eq!(writer.position().count, 3);
}

#[test]
fn closed_writer_rejects_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    writer.append(record(Event::Shutdown)).unwrap();
    writer.close().unwrap();
    assert!(text(&path).contains("shutdown"));
    let refused = append_blocking(&writer, &exec("late"));
    assert!(matches!(refused, Err(AuditError::Closed)));
    assert!(matches!(
        writer.append(record(Event::Read)),
        Err(AuditError::Closed)
    ));
    assert!(writer.flush().is_err());
}
