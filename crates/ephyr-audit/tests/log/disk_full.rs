//! A full disk: a small tmpfs if the kernel allows mounting one, and a limit on the file's size. The log rejects records
//! while the disk is full, recovers on its own, and its chain stays intact.

use std::path::{Path, PathBuf};
use std::process::Command;

use ephyr_audit::{AuditError, Event, Filter, Writer, WriterOptions, query};
use ephyr_chain::ChainWriteError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::*;

const LIMITED: &str = "EPHYR_TEST_LIMITED_DIR";
const TMPFS: &str = "EPHYR_TEST_TMPFS_DIR";

#[test]
fn w25_file_size_limit_rejects_actions_and_recovers() {
    if let Some(dir) = std::env::var_os(LIMITED) {
        return limited(&PathBuf::from(dir));
    }
    let dir = tempfile::tempdir().unwrap();
    // SIGXFSZ stays ignored across exec, so the write fails with EFBIG instead.
    let script = r#"trap "" XFSZ; ulimit -S -f 64; exec "$0" "$@""#;
    let name = "disk_full::w25_file_size_limit_rejects_actions_and_recovers";
    rerun("sh", &["-c", script], name, LIMITED, dir.path());
    check_afterwards(&dir.path().join("audit.log"));
}

fn limited(dir: &Path) {
    fill_and_recover(&dir.join("audit.log"), || {
        let hard = getrlimit(Resource::Fsize).maximum;
        let wide = Rlimit {
            current: hard,
            maximum: hard,
        };
        setrlimit(Resource::Fsize, wide).unwrap();
    });
}

#[test]
fn w25_full_disk_rejects_actions_and_recovers() {
    if let Some(dir) = std::env::var_os(TMPFS) {
        return on_tmpfs(&PathBuf::from(dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = r#"mount -t tmpfs -o size=512k none "$EPHYR_TEST_TMPFS_DIR""#;
    let able = Command::new("unshare")
        .args(["-m", "sh", "-c", mount])
        .env(TMPFS, dir.path())
        .output();
    if able.is_ok_and(|output| output.status.success()) {
        let script = format!(r#"{mount} && exec "$0" "$@""#);
        let name = "disk_full::w25_full_disk_rejects_actions_and_recovers";
        rerun(
            "unshare",
            &["-m", "sh", "-c", &script],
            name,
            TMPFS,
            dir.path(),
        );
    } else {
        // Without a mount namespace, the same test runs with the limit on the file's size.
        w25_file_size_limit_rejects_actions_and_recovers();
    }
}

fn on_tmpfs(dir: &Path) {
    let (path, ballast) = (dir.join("audit.log"), dir.join("ballast"));
    std::fs::write(&ballast, vec![1; 384 * 1024]).unwrap();
    fill_and_recover(&path, || std::fs::remove_file(&ballast).unwrap());
    check_afterwards(&path);
    std::fs::remove_file(&path).unwrap();
    relaxed_records_exceed_the_disk(&dir.join("second.log"), &ballast);
}

/// Relaxed records must not block durable ones, even if not all of them fit on the disk.
fn relaxed_records_exceed_the_disk(path: &Path, ballast: &Path) {
    std::fs::write(ballast, vec![1; 384 * 1024]).unwrap();
    let writer = open(path);
    while append_blocking(&writer, &exec(&"x".repeat(3000))).is_ok() {}
    let long = exec(&"x".repeat(3000));
    for _ in 0..1000 {
        writer.append(long.clone()).unwrap();
    }
    std::fs::remove_file(ballast).unwrap();
    let appended = append(&writer, &exec("after"));
    assert!(text(path).contains(&appended.hash.to_string()));
    assert!(writer.flush().is_err(), "three megabytes do not fit");
    let more = Command::new("mount")
        .args(["-o", "remount,size=16m"])
        .arg(path.parent().unwrap())
        .status();
    assert!(more.unwrap().success());
    writer.close().unwrap();
    let report = verify_text(&text(path), &Signer::new(1).ca(), &[]).unwrap();
    assert_eq!(report.lost, 0);
    assert_eq!(text(path).matches(&long.id.to_string()).count(), 1000);
}

/// Runs one test of this binary under a command, in a directory named by `variable`.
fn rerun(command: &str, arguments: &[&str], test: &str, variable: &str, dir: &Path) {
    let status = Command::new(command)
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(variable, dir)
        .status()
        .unwrap();
    assert!(status.success());
}

fn fill_and_recover(path: &Path, relieve: impl FnOnce()) {
    let small = WriterOptions {
        queue: 200,
        ..options()
    };
    let (writer, _) = Writer::open(path, &small).unwrap();
    let long = exec(&"x".repeat(3000));
    let full = loop {
        if let Err(error) = append_blocking(&writer, &long) {
            break error;
        }
    };
    assert!(
        matches!(full, AuditError::File(ChainWriteError::Io { .. })),
        "{full}"
    );
    let size = std::fs::metadata(path).unwrap().len();
    assert!(text(path).ends_with('\n'), "the failed write was truncated");
    // It keeps rejecting records, with the reason.
    for _ in 0..3 {
        let error = append_blocking(&writer, &long).unwrap_err();
        assert!(error.to_string().contains("nothing is done unrecorded"));
    }
    assert_eq!(std::fs::metadata(path).unwrap().len(), size);
    assert!(writer.failure().is_some());
    let refused = (0..250).filter(|_| writer.append(exec("true")).is_err());
    assert!(
        refused.count() >= 50,
        "only 200 records are queued, the others are lost"
    );
    relieve();
    let recovered = append(&writer, &exec("after"));
    writer.flush().unwrap();
    assert!(writer.failure().is_none());
    assert!(text(path).contains(&recovered.hash.to_string()));
    let kept = text(path).matches(r#""command":"true""#).count();
    assert!(kept >= 150, "{kept} relaxed records were kept");
}

fn check_afterwards(path: &Path) {
    let content = text(path);
    let report = verify_text(&content, &Signer::new(1).ca(), &[]).unwrap();
    assert!(report.lost >= 50);
    let filter = Filter {
        events: vec![Event::AuditGap],
        ..Filter::default()
    };
    let gap = query(content.as_bytes(), &filter).next().unwrap().unwrap();
    assert!(gap.record.detail.get("failing_since").is_some());
    let error = gap.record.detail.get("error").unwrap();
    assert!(error.contains("cannot write"), "{error}");
    drop(open(path));
}
