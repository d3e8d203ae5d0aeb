//! Every attempt has an outcome, even if it is dropped or its caller is gone.

use std::path::Path;

use ephyr_audit::{Attempt, AttemptKind, AuditError, Event, Writer};
use serde_json::Value;

use crate::support::{exec, now, open, record};

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn attempt(writer: &Writer) -> Attempt {
    wait(writer.attempt(AttemptKind::Exec, exec("uptime"))).unwrap()
}

/// Returns the records of attempts and outcomes.
fn records(writer: &Writer, path: &Path) -> Vec<Value> {
    writer.flush().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let all = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["event"].as_str().unwrap().starts_with("exec"))
        .collect()
}

#[test]
fn attempt_is_on_disk_when_returned_and_its_outcome_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let writer = open(&path);
    let attempt = attempt(&writer);
    let on_disk = std::fs::read_to_string(&path).unwrap();
    assert!(on_disk.contains(&attempt.appended().id.to_string()));
    let (id, time) = (record(Event::Startup).id, now());
    let appended = attempt.finish(id, time, |outcome| outcome.with_detail("exit", "0"));
    let records = records(&writer, &path);
    assert_eq!(records.len(), 2);
    assert_eq!(records[1]["event"], "exec_outcome");
    assert_eq!(records[1]["id"], id.to_string());
    assert_eq!(records[1]["attempt"], appended.id.to_string());
    for same in ["agent", "action", "policy"] {
        assert_eq!(records[0][same], records[1][same], "{same}");
    }
    assert_eq!(records[1]["detail"]["exit"], "0");
    assert_eq!(records[1]["detail"]["error"], Value::Null);
}

#[test]
fn dropped_attempt_is_recorded_as_aborted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let writer = open(&path);
    let attempt = attempt(&writer);
    let id = attempt.appended().id.to_string();
    drop(attempt);
    let records = records(&writer, &path);
    assert_eq!(records[1]["event"], "exec_outcome");
    assert_eq!(records[1]["attempt"], id);
    assert_eq!(records[1]["detail"]["error"], "aborted");
}

#[test]
fn attempt_whose_caller_is_gone_is_recorded_as_aborted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let writer = open(&path);
    wait(async {
        let mut waiting = Box::pin(writer.attempt(AttemptKind::Exec, exec("uptime")));
        // Polled once, so that the record is queued, and then dropped, as when a client disconnects.
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx)));
        let polled = poll.await;
        drop((polled, waiting));
    });
    // The first flush sees the attempt; the outcome is appended after it.
    writer.flush().unwrap();
    let records = records(&writer, &path);
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[1]["attempt"], records[0]["id"]);
    assert_eq!(records[1]["detail"]["error"], "aborted");
}

#[test]
fn abandoned_attempt_may_hold_the_last_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let writer = open(&path);
    wait(async {
        let mut waiting = Box::pin(writer.attempt(AttemptKind::Exec, exec("uptime")));
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx)));
        drop(poll.await);
    });
    drop(writer);
    // The writer's thread must neither wait for itself nor lose the outcome.
    let is_recorded = || std::fs::read_to_string(&path).unwrap().contains("aborted");
    let mut tries = 0;
    while !is_recorded() {
        tries += 1;
        assert!(tries < 500, "no outcome after 5 s");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn attempt_that_cannot_be_recorded_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let writer = open(&path);
    writer.close().unwrap();
    let refused = wait(writer.attempt(AttemptKind::Exec, exec("uptime")));
    assert!(matches!(refused, Err(AuditError::Closed)), "{refused:?}");
}
