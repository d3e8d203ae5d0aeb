//! Opening, restarting, rotating and countersigning a log.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use ephyr_audit::{
    AuditError, CheckpointFault, Event, Filter, OpenError, VerifyOptions, Writer, WriterOptions,
    query,
};
use ephyr_chain::{ChainOpenError, Checkpoint};

use crate::support::*;

#[test]
fn chain_continues_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = open(&path).position().log;
    for _ in 0..3 {
        let (writer, report) = Writer::open(&path, &options()).unwrap();
        assert!(!report.created);
        assert_eq!(report.position.log, log);
        append(&writer, &exec("true"));
    }
    let report = verify_text(&text(&path), &Signer::new(1).ca(), &[]).unwrap();
    assert_eq!((report.log, report.records), (log, 4));
}

#[test]
fn second_writer_symlink_and_foreign_file_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let refused = |path: &std::path::Path| Writer::open(path, &options()).unwrap_err();
    assert!(matches!(
        refused(&path),
        OpenError::File(ChainOpenError::Locked(_))
    ));
    drop(writer);
    let link = dir.path().join("link.log");
    symlink(&path, &link).unwrap();
    assert!(matches!(
        refused(&link),
        OpenError::File(ChainOpenError::Symlink(_))
    ));
    assert!(matches!(
        refused(dir.path()),
        OpenError::File(ChainOpenError::Io { .. })
    ));
    let fifo = dir.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(
        refused(&fifo),
        OpenError::File(ChainOpenError::NotRegular(_))
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
    assert!(matches!(
        refused(&path),
        OpenError::File(ChainOpenError::Writable { mode: 0o660, .. })
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(Writer::open(&path, &options()).is_ok());
    // A file of another user: created if the test runs as root, otherwise one of the system's files.
    let foreign = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        path
    } else {
        "/etc/passwd".into()
    };
    let error = refused(&foreign);
    assert!(
        matches!(
            error,
            OpenError::File(ChainOpenError::ForeignOwner { .. } | ChainOpenError::Io { .. })
        ),
        "{error}"
    );
}

#[test]
fn rotation_continues_the_log_and_every_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (mut signer, small) = (
        Signer::new(1),
        WriterOptions {
            rotate_at: Some(4096),
            ..options()
        },
    );
    let (writer, _) = Writer::open(&path, &small).unwrap();
    for n in 0..100 {
        append(&writer, &exec("true"));
        if n % 30 == 0 {
            signer.countersign(&writer);
        }
    }
    let old = writer.rotate().unwrap();
    assert!(old.exists() && old != path);
    append(&writer, &exec("after"));
    signer.countersign(&writer);
    let files = ephyr_audit::log_files(&path).unwrap();
    assert!(files.len() > 5, "{files:?}");
    let report = verify_files(&path, &signer.ca(), &VerifyOptions::default()).unwrap();
    assert_eq!(report.records, writer.position().count);
    assert_eq!((report.unsigned, report.signed), (0, signer.count()));
    // A middle file alone is accepted only as a partial log.
    let middle = std::fs::read(&files[3]).unwrap();
    let alone = |partial| {
        let options = VerifyOptions {
            partial,
            ..VerifyOptions::default()
        };
        ephyr_audit::verify([&middle[..]], &signer.ca(), &options)
    };
    assert!(alone(false).is_err());
    assert!(alone(true).unwrap().unseen > 0);
}

#[test]
fn signer_gets_hashes_in_order_across_restarts_and_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    for _ in 0..10 {
        append(&writer, &exec("true"));
    }
    let first = signer.sign_next(&writer, 4).unwrap();
    record_checkpoint(&writer, &first).unwrap();
    assert_eq!(writer.position().signed, 4);
    writer.rotate().unwrap();
    append(&writer, &exec("true"));
    writer.rotate().unwrap();
    drop(writer);
    // After the restart no hashes are in memory: they are in two rotated files, the last checkpoint in the first.
    let (writer, report) = Writer::open(&path, &options()).unwrap();
    assert_eq!(report.position.signed, 4);
    assert_eq!(writer.unsigned(1000).unwrap().from, 4);
    signer.countersign(&writer).unwrap();
    assert!(writer.unsigned(1000).is_none(), "an idle log stays idle");
    let report = verify_files(&path, &signer.ca(), &VerifyOptions::default()).unwrap();
    assert_eq!((report.checkpoints, report.unsigned), (2, 0));
}

#[test]
fn checkpoint_lost_in_a_crash_is_superseded_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    append(&writer, &exec("one"));
    let lost = signer.sign_next(&writer, 1000).unwrap();
    drop(writer);
    let writer = open(&path);
    append(&writer, &exec("two"));
    assert_eq!((writer.position().signed, signer.count()), (0, lost.count));
    signer.countersign(&writer).unwrap();
    let report = verify_files(&path, &signer.ca(), &VerifyOptions::default()).unwrap();
    assert_eq!((report.checkpoints, report.unsigned), (1, 0));
}

/// Countersigns as a busy broker does: the records of `meanwhile` precede the checkpoint's record.
fn countersign_while(signer: &mut Signer, writer: &Writer, max: usize, meanwhile: &[&str]) {
    let checkpoint = signer.sign_next(writer, max).unwrap();
    for command in meanwhile {
        append(writer, &exec(command));
    }
    record_checkpoint(writer, &checkpoint).unwrap();
}

#[test]
fn log_verifies_if_a_checkpoint_covers_the_record_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    append(&writer, &exec("one"));
    countersign_while(&mut signer, &writer, 1000, &["two", "three"]);
    // The log is idle from here on: the next checkpoint covers the records of `meanwhile` and the first checkpoint.
    let at_rest = writer.position().count;
    countersign_while(&mut signer, &writer, 1000, &[]);
    assert_eq!(shipped(&path).count, at_rest);
    let beside = VerifyOptions {
        shipped: vec![shipped(&path)],
        partial: false,
    };
    for options in [VerifyOptions::default(), beside] {
        let report = verify_files(&path, &signer.ca(), &options).unwrap();
        assert_eq!((report.checkpoints, report.unsigned), (2, 0));
        assert_eq!(report.signed, at_rest);
    }
}

#[test]
fn log_verifies_if_checkpoints_follow_all_covered_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    for n in 0..9 {
        append(&writer, &exec(&format!("command {n}")));
    }
    for _ in 0..3 {
        countersign_while(&mut signer, &writer, 3, &[]);
    }
    append(&writer, &exec("after"));
    let beside = VerifyOptions {
        shipped: vec![shipped(&path)],
        partial: false,
    };
    let report = verify_files(&path, &signer.ca(), &beside).unwrap();
    assert_eq!(
        (report.checkpoints, report.signed, report.unsigned),
        (3, 9, 2)
    );
    assert_eq!(report.signed_at, Some(shipped(&path).time));
}

#[test]
fn shipped_checkpoint_counts_if_the_log_has_none_yet() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    append(&writer, &exec("one"));
    let elsewhere = signer.sign_next(&writer, 1000).unwrap();
    append(&writer, &exec("two"));
    let mut options = VerifyOptions::default();
    let report = verify_files(&path, &signer.ca(), &options).unwrap();
    assert_eq!((report.signed, report.unsigned), (0, 3));
    options.shipped.push(elsewhere);
    let report = verify_files(&path, &signer.ca(), &options).unwrap();
    assert_eq!((report.signed, report.unsigned), (2, 1));
}

#[test]
fn checkpoint_that_does_not_fit_the_log_is_not_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(&dir.path().join("audit.log"));
    let other = open(&dir.path().join("other.log"));
    append(&writer, &exec("one"));
    append(&other, &exec("one"));
    let fault = |checkpoint| match record_checkpoint(&writer, &checkpoint).unwrap_err() {
        AuditError::Checkpoint(fault) => fault,
        error => panic!("{error}"),
    };
    let foreign = Signer::new(1).sign_next(&other, 10).unwrap();
    assert_eq!(fault(foreign), CheckpointFault::OtherLog);
    let mut signer = Signer::new(1);
    let good = signer.sign_next(&writer, 1).unwrap();
    let mut early = good.clone();
    early.count = 9;
    assert!(matches!(fault(early), CheckpointFault::TooMany { .. }));
    let mut wrong = good.clone();
    wrong.count = 2;
    assert_eq!(fault(wrong), CheckpointFault::OtherHead(2));
    record_checkpoint(&writer, &good).unwrap();
    assert!(matches!(fault(good), CheckpointFault::NothingNew { .. }));
}

#[test]
fn more_records_than_the_window_holds_are_countersigned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (writer, _) = Writer::open(
        &path,
        &WriterOptions {
            rotate_at: Some(1 << 20),
            ..options()
        },
    )
    .unwrap();
    // The window in memory holds 65,536 hashes; the others are read back from several files.
    for _ in 0..48 {
        for _ in 0..1500 {
            writer.append(record(Event::Startup)).unwrap();
        }
        writer.flush().unwrap();
    }
    let mut signer = Signer::new(1);
    signer.countersign(&writer).unwrap();
    assert!(signer.count() > 72_000);
    let report = verify_files(&path, &signer.ca(), &VerifyOptions::default()).unwrap();
    assert_eq!((report.unsigned, report.signed), (0, signer.count()));
}

#[test]
fn interrupted_rotation_is_cleaned_up_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let log = writer.position().log;
    append(&writer, &exec("true"));
    drop(writer);
    // The crash happened after the old file got its rotated name and before the new file replaced it.
    let second = dir.path().join(format!("audit.log.{log}.000000000000"));
    std::fs::hard_link(&path, &second).unwrap();
    std::fs::write(dir.path().join("audit.log.next"), "half a record").unwrap();
    let writer = open(&path);
    assert!(!second.exists());
    assert_eq!(
        ephyr_audit::log_files(&path).unwrap(),
        std::slice::from_ref(&path)
    );
    assert_eq!(writer.rotate().unwrap(), second);
    append(&writer, &exec("true"));
    let report = verify_files(&path, &Signer::new(1).ca(), &VerifyOptions::default());
    assert_eq!(report.unwrap().records, 4);
}

#[test]
fn new_log_names_its_predecessor_and_keeps_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    append(&writer, &exec("true"));
    let mut signer = Signer::new(1);
    let last = signer.countersign(&writer).unwrap();
    writer.rotate().unwrap();
    drop(writer);
    std::fs::remove_file(&path).unwrap();
    let writer = open(&path);
    let first = query(text(&path).as_bytes(), &Filter::default())
        .next()
        .unwrap()
        .unwrap()
        .record;
    assert_eq!(first.severity, ephyr_audit::Severity::Warn);
    assert_eq!(
        first.detail.get("instead_of"),
        Some(last.log.to_string().as_str())
    );
    let kept = dir
        .path()
        .join(format!("audit.log.{}.checkpoint", last.log));
    assert_eq!(
        serde_json::from_slice::<Checkpoint>(&std::fs::read(kept).unwrap()).unwrap(),
        last
    );
    // The other log's files do not belong to this log.
    writer.rotate().unwrap();
    assert_eq!(ephyr_audit::log_files(&path).unwrap().len(), 2);
    assert!(verify_files(&path, &signer.ca(), &VerifyOptions::default()).is_ok());
}
