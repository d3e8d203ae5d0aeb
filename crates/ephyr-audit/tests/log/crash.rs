//! SIGKILL at any moment: the log contains every acknowledged record, and it verifies.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ephyr_audit::{Filter, VerifyOptions, Writer, WriterOptions, log_files, query};

use crate::support::*;

const LOG: &str = "EPHYR_TEST_CRASH_LOG";

/// Runs itself as the child process to be killed.
#[test]
fn every_acknowledged_record_survives_sigkill_at_any_point() {
    if let Some(path) = std::env::var_os(LOG) {
        append_until_killed(&PathBuf::from(path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..20 {
        acknowledged.extend(killed_after(&path, random_below(400)));
        let (writer, report) = Writer::open(&path, &options()).unwrap();
        assert!(report.position.signed <= signer.count(), "round {round}");
        signer.countersign(&writer);
        drop(writer);
        let report = verify_files(&path, &signer.ca(), &VerifyOptions::default())
            .unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!((report.unsigned, report.lost), (0, 0));
    }
    let mut present = HashMap::new();
    for file in log_files(&path).unwrap() {
        for stored in query(&std::fs::read(file).unwrap()[..], &Filter::default()) {
            let stored = stored.unwrap();
            let (id, hash) = (stored.record.id.to_string(), stored.hash.to_string());
            assert!(present.insert(id, hash).is_none(), "duplicate record");
        }
    }
    assert!(acknowledged.len() > 20);
    for (id, hash) in acknowledged {
        assert_eq!(present.get(&id), Some(&hash), "{id} was acknowledged");
    }
}

/// Kills the child after it has acknowledged more than `wanted` records. Returns all acknowledged records.
fn killed_after(path: &Path, wanted: usize) -> Vec<(String, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("crash::every_acknowledged_record_survives_sigkill_at_any_point")
        .env(LOG, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut words = line.rsplit(' ');
        if let (Some("."), Some(hash), Some(id), Some("ACK")) =
            (words.next(), words.next(), words.next(), words.next())
        {
            acknowledged.push((id.to_owned(), hash.to_owned()));
        }
        if acknowledged.len() == wanted + 1 {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    assert!(acknowledged.len() > wanted, "the child exited on its own");
    acknowledged
}

fn append_until_killed(path: &Path) -> ! {
    let small = WriterOptions {
        rotate_at: Some(32 * 1024),
        ..options()
    };
    let (writer, _) = Writer::open(path, &small).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let appended = append(&writer, &exec("uptime"));
                    let line = format!("ACK {} {} .\n", appended.id, appended.hash);
                    // One write per line, so that the output of the four threads does not mix.
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
    unreachable!("the threads append forever")
}

fn random_below(limit: u16) -> usize {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).unwrap();
    usize::from(u16::from_ne_bytes(bytes) % limit)
}
