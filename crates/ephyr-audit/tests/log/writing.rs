//! What the writer does on an ordinary day.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ephyr_audit::{
    AuditError, CheckpointFault, DecisionInfo, Event, Filter, OpenError, VerifyOptions, Writer,
    WriterOptions, find_delegation, find_record, query,
};
use ephyr_token::{DelegationCertificate, DelegationPayload};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

use crate::support::*;

#[test]
fn a_new_log_is_0640_and_begins_with_its_id() {
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
fn an_acknowledged_record_is_in_the_file_with_its_hash() {
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
fn many_appenders_share_the_chain_and_each_is_told_of_its_own_record() {
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
fn equal_reads_and_failures_become_one_record_with_a_count() {
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
    // Attempts are never merged: each one has an outcome of its own.
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
fn what_nobody_waits_for_reaches_the_file_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let wanted = record(Event::Startup);
    writer.append(wanted.clone()).unwrap();
    writer.append(record(Event::Read)).unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while writer.position().count < 3 {
        assert!(Instant::now() < patience, "never written");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        find_record(text(&path).as_bytes(), wanted.id)
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_full_queue_answers_busy_at_once_and_what_was_dropped_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let small = WriterOptions {
        queue: 4,
        ..options()
    };
    let (writer, _) = Writer::open(&path, &small).unwrap();
    // The first record's completion holds the writer's thread, so that what follows has to wait.
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
fn a_panicking_completion_does_not_end_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(&dir.path().join("audit.log"));
    writer.append_durable(&exec("one"), Box::new(|_| panic!("the caller's fault")));
    append(&writer, &exec("two"));
    assert_eq!(writer.position().count, 3);
}

#[test]
fn after_closing_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    writer.append(record(Event::Shutdown)).unwrap();
    writer.close().unwrap();
    assert!(text(&path).contains("shutdown"));
    let refused = writer.append_durable_blocking(&exec("late"));
    assert!(matches!(refused, Err(AuditError::Closed)));
    assert!(matches!(
        writer.append(record(Event::Read)),
        Err(AuditError::Closed)
    ));
    assert!(writer.flush().is_err());
}

#[test]
fn the_chain_goes_on_after_a_restart() {
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
fn a_second_writer_a_link_and_a_file_of_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let refused = |path: &std::path::Path| Writer::open(path, &options()).unwrap_err();
    assert!(matches!(refused(&path), OpenError::Locked(_)));
    drop(writer);
    let link = dir.path().join("link.log");
    symlink(&path, &link).unwrap();
    assert!(matches!(refused(&link), OpenError::Symlink(_)));
    assert!(matches!(refused(dir.path()), OpenError::Io { .. }));
    let fifo = dir.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(refused(&fifo), OpenError::NotRegular(_)));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
    assert!(matches!(
        refused(&path),
        OpenError::Writable { mode: 0o660, .. }
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(Writer::open(&path, &options()).is_ok());
    // A file of somebody else's: another user's where we may make one, else the system's own.
    let foreign = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        path
    } else {
        "/etc/passwd".into()
    };
    let error = refused(&foreign);
    assert!(
        matches!(error, OpenError::ForeignOwner { .. } | OpenError::Io { .. }),
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
    // A middle file alone says so, and is accepted only as a part.
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
fn hashes_for_the_signer_come_in_order_across_restarts_rotations_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    for _ in 0..10 {
        append(&writer, &exec("true"));
    }
    let first = signer.sign_next(&writer, 4).unwrap();
    keep(&writer, &first).unwrap();
    assert_eq!(writer.position().signed, 4);
    writer.rotate().unwrap();
    append(&writer, &exec("true"));
    writer.rotate().unwrap();
    drop(writer);
    // Nothing in memory now: the hashes are in two rotated files, the last checkpoint in the first.
    let (writer, report) = Writer::open(&path, &options()).unwrap();
    assert_eq!(report.position.signed, 4);
    assert_eq!(writer.unsigned(1000).unwrap().from, 4);
    signer.countersign(&writer).unwrap();
    assert!(
        writer.unsigned(1000).is_none(),
        "a log at rest stays at rest"
    );
    let report = verify_files(&path, &signer.ca(), &VerifyOptions::default()).unwrap();
    assert_eq!((report.checkpoints, report.unsigned), (2, 0));
}

#[test]
fn a_checkpoint_that_a_crash_kept_from_being_recorded_is_overtaken_by_the_next() {
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

#[test]
fn a_checkpoint_of_something_else_is_not_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(&dir.path().join("audit.log"));
    let other = open(&dir.path().join("other.log"));
    append(&writer, &exec("one"));
    append(&other, &exec("one"));
    let fault = |checkpoint| match keep(&writer, &checkpoint).unwrap_err() {
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
    keep(&writer, &good).unwrap();
    assert!(matches!(fault(good), CheckpointFault::NothingNew { .. }));
}

#[test]
fn a_query_gives_the_whole_tree_of_a_task_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let task = |n: u128| ephyr_names::TaskId::from_bits(n);
    append(&writer, &exec("root").with_lineage([task(1)]));
    append(&writer, &exec("child").with_lineage([task(1), task(2)]));
    append(
        &writer,
        &exec("leaf").with_lineage([task(1), task(2), task(3)]),
    );
    append(&writer, &exec("other").with_lineage([task(9)]));
    let commands = |filter: &Filter| -> Vec<String> {
        query(text(&path).as_bytes(), filter)
            .filter_map(|stored| stored.unwrap().record.action?.command)
            .map(|command| command.as_str().to_owned())
            .collect()
    };
    let of = |n| {
        commands(&Filter {
            task: Some(task(n)),
            ..Filter::default()
        })
    };
    assert_eq!(of(1), ["root", "child", "leaf"]);
    assert_eq!(of(2), ["child", "leaf"]);
    assert_eq!(of(3), ["leaf"]);
    let nobody = Filter {
        agent: Some("nobody".parse().unwrap()),
        ..Filter::default()
    };
    assert!(commands(&nobody).is_empty());
    let early = Filter {
        until: Some(ephyr_names::Timestamp::from_unix_seconds(1)),
        ..Filter::default()
    };
    assert!(commands(&early).is_empty());
}

#[test]
fn a_delegation_certificate_is_found_again_for_receipts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let ca = PrivateKey::from(Ed25519Keypair::from_seed(&[3; 32]));
    let time = now();
    let payload = DelegationPayload {
        epoch: ephyr_names::EpochId::from_bits(5),
        broker_id: "broker".into(),
        public_key: [9; 32],
        issued_at: time,
        mint_until: time.after(ephyr_names::Ttl::from_secs(3600)),
        valid_until: time.after(ephyr_names::Ttl::from_secs(7200)),
    };
    let certificate = DelegationCertificate::sign(payload, &ca).unwrap();
    let mut started = record(Event::EpochStarted);
    started.delegation = Some(Box::new(certificate.clone()));
    append(&writer, &started);
    let found = find_delegation(text(&path).as_bytes(), certificate.id()).unwrap();
    assert_eq!(found.unwrap().verify_signature(ca.public_key()), Ok(()));
    let other = find_delegation(text(&path).as_bytes(), POLICY).unwrap();
    assert!(other.is_none());
}

#[test]
fn one_line_for_people_says_who_what_and_why() {
    let mut denied = exec("rm -rf /\n\u{1b}[2J").with_detail("peer", "uid 1000");
    denied.decision = Some(DecisionInfo {
        step: Some(3),
        reason: "role_not_granted".into(),
        rule: Some("agents.claude.ssh".into()),
    });
    let line = denied.to_string();
    assert!(line.ends_with(&format!(
        "exec_attempt agent=claude exec target=web role=read command=\"rm -rf /\\n\\u{{1b}}[2J\" \
         reason=role_not_granted step=3 rule=agents.claude.ssh peer=uid 1000 id={}",
        denied.id
    )), "{line}");
    assert!(!line.contains(char::is_control));
}
