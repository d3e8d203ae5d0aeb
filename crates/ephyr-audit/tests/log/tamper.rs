//! Attacks on the log's files by someone who can write them.

use ephyr_audit::{Event, Fault, Record, VerifyError, VerifyOptions};
use ephyr_chain::{Checkpoint, Fold, Line, LineFault};

use crate::support::*;

/// A log of 9 records: `log_opened`, five commands, a checkpoint over these six, and two commands.
struct Log {
    lines: Vec<String>,
    signer: Signer,
    shipped: Checkpoint,
}

fn log() -> Log {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    for n in 0..5 {
        append(&writer, &exec(&format!("command {n}")));
    }
    let shipped = signer.countersign(&writer).unwrap();
    append(&writer, &exec("six"));
    append(&writer, &exec("seven"));
    Log {
        lines: lines(&text(&path)),
        signer,
        shipped,
    }
}

impl Log {
    fn check(&self, lines: &[String]) -> Result<ephyr_audit::Report, VerifyError> {
        verify_text(&(lines.join("\n") + "\n"), &self.signer.ca(), &[])
    }

    fn fault(&self, change: impl FnOnce(&mut Vec<String>)) -> (u64, Fault) {
        let mut lines = self.lines.clone();
        change(&mut lines);
        assert_ne!(lines, self.lines);
        let error = self.check(&lines).unwrap_err();
        (error.line, error.fault)
    }
}

fn mismatch(found: &(u64, Fault), line: u64) -> bool {
    found.0 == line && matches!(found.1, Fault::Line(LineFault::Mismatch))
}

#[test]
fn unmodified_log_verifies_and_reports_its_unsigned_tail() {
    let log = log();
    let report = log.check(&log.lines).unwrap();
    assert_eq!((report.records, report.signed, report.unsigned), (9, 6, 2));
    assert_eq!(report.checkpoints, 1);
    assert!(report.unsigned_since.is_some() && report.signed_at.is_some());
}

#[test]
fn edited_removed_moved_and_inserted_lines_are_located() {
    let log = log();
    let edited = log.fault(|lines| lines[2] = lines[2].replace("command 1", "command X"));
    assert!(mismatch(&edited, 3), "{edited:?}");
    let removed = log.fault(|lines| drop(lines.remove(2)));
    assert!(mismatch(&removed, 3), "{removed:?}");
    let moved = log.fault(|lines| lines.swap(2, 3));
    assert!(mismatch(&moved, 3), "{moved:?}");
    let doubled = log.fault(|lines| lines.insert(3, lines[2].clone()));
    assert!(mismatch(&doubled, 4), "{doubled:?}");
    let blank = log.fault(|lines| lines.insert(3, String::new()));
    assert!(
        matches!(blank, (4, Fault::Line(LineFault::NoHash))),
        "{blank:?}"
    );
    let headless = log.fault(|lines| drop(lines.remove(0)));
    assert!(
        matches!(&headless, (1, Fault::Line(LineFault::NotARecord(why))) if why.contains("beginning was removed")),
        "{headless:?}"
    );
}

#[test]
fn fault_of_a_forged_line_shows_no_control_characters() {
    let forged = log().lines[2].replacen('{', r#"{"\u001b[2J\nthe log is whole\u202e":1,"#, 1);
    let line = Line::split(forged.as_bytes()).unwrap();
    let Err(LineFault::NotARecord(why)) = line.parse::<Record>() else {
        panic!("{forged}");
    };
    assert!(why.contains("the log is whole"), "{why}");
    assert!(!why.contains(char::is_control), "{why}");
    assert!(!why.contains('\u{202e}'), "{why}");
}

#[test]
fn checkpoint_of_another_key_is_rejected() {
    let log = log();
    let report = verify_text(&(log.lines.join("\n") + "\n"), &Signer::new(2).ca(), &[]);
    let error = report.unwrap_err();
    assert_eq!(error.line, 7);
    assert!(matches!(error.fault, Fault::ForeignCheckpoint));
}

#[test]
fn rewritten_log_with_the_attackers_checkpoint_is_rejected() {
    let log = log();
    let mut lines = log.lines.clone();
    lines[2] = lines[2].replace("command 1", "command X");
    lines.truncate(6);
    let mut forged = rehash(&lines);
    let mut fold = Fold::new(log.shipped.log);
    for line in forged.lines() {
        fold.push(split(line).1.parse().unwrap());
    }
    let mut record = record(Event::Checkpoint);
    record.checkpoint = Some(Box::new(Signer::new(2).sign(fold)));
    lines.push(serde_json::to_string(&record).unwrap());
    forged = rehash(&lines);
    let error = verify_text(&forged, &log.signer.ca(), &[]).unwrap_err();
    assert!(matches!(
        (error.line, error.fault),
        (7, Fault::ForeignCheckpoint)
    ));
    // Without checkpoints, the chain itself verifies, but does not match the shipped checkpoint.
    lines.pop();
    let forged = rehash(&lines);
    let report = verify_text(&forged, &log.signer.ca(), &[]).unwrap();
    assert_eq!((report.signed, report.unsigned), (0, 6));
    let error = verify_text(&forged, &log.signer.ca(), &[log.shipped]).unwrap_err();
    assert!(matches!(error.fault, Fault::Rewritten(6)));
}

#[test]
fn checkpoint_covering_itself_or_too_few_records_is_rejected() {
    let log = log();
    let bodies = &log.lines;
    let with = |checkpoint: &Checkpoint| {
        let mut record = record(Event::Checkpoint);
        record.checkpoint = Some(Box::new(checkpoint.clone()));
        let mut lines = bodies.clone();
        lines.push(serde_json::to_string(&record).unwrap());
        log_fault(&rehash(&lines), &log.signer)
    };
    let mut fold = Fold::new(log.shipped.log);
    for line in bodies.iter().take(3) {
        fold.push(split(line).1.parse().unwrap());
    }
    let past = with(&log.signer.sign(fold));
    assert!(
        matches!(past, Fault::MisplacedCheckpoint { count: 3 }),
        "{past}"
    );
    let ahead = with(&log.signer.sign(Fold::resume(fold.log(), 10, fold.head())));
    assert!(
        matches!(ahead, Fault::MisplacedCheckpoint { count: 10 }),
        "{ahead}"
    );
    let foreign = Fold::resume(ephyr_names::RecordId::from_bits(1), 8, fold.head());
    let foreign = with(&log.signer.sign(foreign));
    assert!(matches!(foreign, Fault::OtherLog(_)), "{foreign}");
}

fn log_fault(text: &str, signer: &Signer) -> Fault {
    verify_text(text, &signer.ca(), &[]).unwrap_err().fault
}

#[test]
fn outcome_without_its_attempt_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let attempt = append(&writer, &exec("true"));
    let outcome = |attempt| {
        let mut outcome = record(Event::ExecOutcome);
        outcome.attempt = attempt;
        outcome
    };
    append(&writer, &outcome(Some(attempt.id)));
    let signer = Signer::new(1);
    let whole = verify_text(&text(&path), &signer.ca(), &[]).unwrap();
    assert!(whole.open_attempts.is_empty());
    let good = text(&path);
    let mut other = outcome(Some(attempt.id));
    other.event = Event::CertOutcome;
    let cases = [
        ("no attempt named", outcome(None)),
        ("unknown attempt", outcome(Some(other.id))),
        ("second outcome", outcome(Some(attempt.id))),
        ("outcome of another kind", other),
    ];
    for (case, bad) in cases {
        let mut all = lines(&good);
        if case == "outcome of another kind" {
            all.truncate(2);
        }
        all.push(serde_json::to_string(&bad).unwrap());
        let fault = log_fault(&rehash(&all), &signer);
        assert!(matches!(fault, Fault::NoAttempt { .. }), "{case}: {fault}");
    }
}

#[test]
fn files_out_of_order_or_missing_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut signer = Signer::new(1);
    let writer = open(&path);
    for _ in 0..3 {
        append(&writer, &exec("true"));
        signer.countersign(&writer);
        writer.rotate().unwrap();
    }
    let files: Vec<Vec<u8>> = ephyr_audit::log_files(&path)
        .unwrap()
        .into_iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    let check = |order: &[usize]| {
        let readers = order.iter().map(|n| &files[*n][..]);
        ephyr_audit::verify(readers, &signer.ca(), &VerifyOptions::default())
    };
    assert!(check(&[0, 1, 2, 3]).is_ok());
    let gap = check(&[0, 2, 3]).unwrap_err();
    assert!(matches!(
        (gap.file, gap.line, &gap.fault),
        (2, 1, Fault::NotContinued)
    ));
    let swapped = check(&[0, 2, 1, 3]).unwrap_err();
    assert!(matches!(swapped.fault, Fault::NotContinued));
    let headless = check(&[1, 2, 3]).unwrap_err();
    assert!(matches!(headless.fault, Fault::MissingStart(_)));
    let nothing = check(&[]).unwrap_err();
    assert!(matches!(nothing.fault, Fault::Empty));
    let glued = [&files[0][..], &files[1][..]].concat();
    let glued = ephyr_audit::verify([&glued[..]], &signer.ca(), &VerifyOptions::default());
    assert!(matches!(glued.unwrap_err().fault, Fault::OpensAgain));
}

#[test]
fn shipped_checkpoint_must_be_the_signers_and_of_this_log() {
    let log = log();
    let text = log.lines.join("\n") + "\n";
    let check = |shipped: Checkpoint| verify_text(&text, &log.signer.ca(), &[shipped]);
    assert!(check(log.shipped.clone()).is_ok());
    let mut forged = log.shipped.clone();
    forged.count = 2;
    assert!(matches!(
        check(forged).unwrap_err().fault,
        Fault::ForeignCheckpoint
    ));
    let other = log
        .signer
        .sign(Fold::resume(ephyr_names::RecordId::from_bits(1), 1, POLICY));
    assert!(matches!(
        check(other).unwrap_err().fault,
        Fault::OtherLog(_)
    ));
    let ahead = log.signer.sign(Fold::resume(log.shipped.log, 50, POLICY));
    assert!(matches!(
        check(ahead).unwrap_err().fault,
        Fault::Truncated {
            signed: 50,
            present: 9
        }
    ));
}

#[test]
fn inconsistent_first_record_is_rejected() {
    let log = log();
    let genuine = &log.lines[0];
    let id = log.shipped.log.to_string();
    let empty_head = Fold::new(log.shipped.log).head().to_string();
    let other_id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let cases = [
        (
            "counts records before it",
            genuine.replace(r#""count":0"#, r#""count":1"#),
        ),
        (
            "names another head",
            genuine.replace(&empty_head, &POLICY.to_string()),
        ),
        ("names another log", genuine.replacen(&id, other_id, 1)),
        (
            "continues no log",
            genuine.replace("log_opened", "log_continued"),
        ),
        (
            "has another event",
            genuine.replace("log_opened", "startup"),
        ),
    ];
    for (case, first) in cases {
        assert_ne!(&first, genuine, "{case}");
        let mut lines = log.lines.clone();
        lines[0] = first;
        let error = verify_text(&rehash(&lines), &log.signer.ca(), &[]).unwrap_err();
        let is_reported = matches!(&error.fault, Fault::Line(LineFault::NotARecord(why)) if why.contains("contradicts itself"));
        assert!(is_reported && error.line == 1, "{case}: {error}");
    }
}
