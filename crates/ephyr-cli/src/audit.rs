//! `ephyr audit`: verifies and searches the audit log, offline; it needs only the CA's public key.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ephyr_audit::{
    Event, Filter, Record, Report, Severity, Stored, VerifyOptions, checkpoint_file,
    find_delegation, log_files, query, verify,
};
use ephyr_chain::{Checkpoint, Line, MAX_LINE};
use ephyr_names::{RecordId, TaskId};
use ephyr_sandbox::read_regular;
use ephyr_token::Receipt;
use serde_json::{Value, json};
use ssh_key::PublicKey;

use crate::args::{Audit, Log};
use crate::ca::public_key;
use crate::failure::{DATA, Failure};
use crate::output::Output;

pub(crate) fn run(audit: &Audit, output: &Output) -> Result<ExitCode, Failure> {
    match audit {
        Audit::Verify {
            log,
            ca_pub,
            checkpoint,
            partial,
        } => {
            let mut shipped = checkpoint
                .iter()
                .map(|path| read_checkpoint(path))
                .collect::<Result<Vec<_>, _>>()?;
            // The file with the last checkpoint, beside the log, reveals a log that was truncated.
            let last = checkpoint_file(&log.log);
            if last.exists() {
                shipped.push(read_checkpoint(&last)?);
            }
            let options = VerifyOptions {
                shipped,
                partial: *partial,
            };
            check(log, &public_key(ca_pub)?, &options, output)
        }
        Audit::Query {
            log,
            task,
            agent,
            event,
            severity,
            since,
            until,
        } => {
            let filter = Filter {
                task: *task,
                agent: agent.clone(),
                events: event
                    .iter()
                    .map(|text| parse_event(text))
                    .collect::<Result<_, _>>()?,
                severity: severity.as_deref().map(parse_severity).transpose()?,
                since: *since,
                until: *until,
            };
            search(log, &filter, output)
        }
        Audit::Receipt {
            receipt,
            log,
            ca_pub,
        } => {
            let text = if receipt == "-" {
                crate::ca::standard_input()?
            } else {
                receipt.clone()
            };
            let receipt: Receipt = text
                .trim()
                .parse()
                .map_err(|error| Failure::data(format!("invalid receipt: {error}")))?;
            check_receipt(&receipt, log, &public_key(ca_pub)?, output)
        }
    }
}

fn check(
    log: &Log,
    ca: &PublicKey,
    options: &VerifyOptions,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let paths = paths(log)?;
    let files = paths
        .iter()
        .map(|path| open(path))
        .collect::<Result<Vec<_>, _>>()?;
    match verify(files, ca, options) {
        Ok(report) => {
            output.show(&report_json(&report), || describe(&report))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let file = error.file.checked_sub(1).and_then(|at| paths.get(at));
            let file = file.map_or_else(
                || log.log.display().to_string(),
                |path| path.display().to_string(),
            );
            let text = format!("{file}:{}: {}", error.line, error.fault);
            let location = json!({"file": file, "line": error.line});
            Err(Failure::new(DATA, "log_not_whole", text).with_details(location))
        }
    }
}

fn report_json(report: &Report) -> Value {
    json!({
        "log": report.log,
        "unseen": report.unseen,
        "records": report.records,
        "checkpoints": report.checkpoints,
        "signed": report.signed,
        "signed_at": report.signed_at,
        "unsigned": report.unsigned,
        "unsigned_since": report.unsigned_since,
        "open_attempts": report.open_attempts,
        "lost": report.lost,
        "taken_away": report.taken_away,
        "hash": report.hash,
        "head": report.head,
    })
}

fn describe(report: &Report) -> String {
    let mut text = format!(
        "the log {} is intact: {}, {} of them countersigned by the signer\n",
        report.log,
        records(report.records),
        report.signed
    );
    if report.unseen > 0 {
        let unseen = records(report.unseen);
        text.push_str(&format!(
            "not verified: the first {unseen}, because their files are missing\n"
        ));
    }
    if report.unsigned > 0 {
        let since = report
            .unsigned_since
            .map_or_else(String::new, |time| format!(" since {time}"));
        let unsigned = records(report.unsigned);
        text.push_str(&format!(
            "not yet countersigned, protected only by the hash chain: {unsigned}{since}\n"
        ));
    }
    if report.lost > 0 {
        let lost = records(report.lost);
        text.push_str(&format!(
            "lost while the log could not be written: {lost}\n"
        ));
    }
    if report.taken_away > 0 {
        let times = match report.taken_away {
            1 => "once".to_owned(),
            n => format!("{n} times"),
        };
        text.push_str(&format!(
            "the log's file was removed, renamed or replaced {times}, and the log continued in a new one: see \
             `ephyr audit query --event log_continued --severity alert`\n"
        ));
    }
    for attempt in &report.open_attempts {
        text.push_str(&format!(
            "attempt {attempt} has no outcome: it is still running, or a crash interrupted it\n"
        ));
    }
    text
}

fn records(count: u64) -> String {
    if count == 1 {
        "1 record".to_owned()
    } else {
        format!("{count} records")
    }
}

fn search(log: &Log, filter: &Filter, output: &Output) -> Result<ExitCode, Failure> {
    let mut tree = Vec::new();
    let mut found = false;
    for path in paths(log)? {
        for stored in query(open(&path)?, filter) {
            let stored =
                stored.map_err(|error| Failure::data(format!("{}: {error}", path.display())))?;
            found = true;
            match filter.task {
                // Sorted below: an outcome may be written after attempts that started later.
                Some(_) => tree.push(stored),
                None => output.raw(line(&stored, output).as_bytes())?,
            }
        }
    }
    tree.sort_by_key(|stored| stored.record.time);
    for stored in &tree {
        let depth = filter.task.map_or(0, |task| depth_below(task, stored));
        let indent = match depth.checked_sub(1) {
            Some(above) if !output.is_json() => format!("{}└─ ", "   ".repeat(above)),
            _ => String::new(),
        };
        output.raw(format!("{indent}{}", line(stored, output)).as_bytes())?;
    }
    if !found {
        output.note("no record matches");
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the number of generations between `task` and the task of a record.
fn depth_below(task: TaskId, stored: &Stored) -> usize {
    let lineage = &stored.record.lineage;
    let at = lineage.iter().position(|above| *above == task);
    at.map_or(0, |at| lineage.len() - 1 - at)
}

fn line(stored: &Stored, output: &Output) -> String {
    if output.is_json() {
        stored.json() + "\n"
    } else {
        format!("{}\n", stored.record)
    }
}

fn check_receipt(
    receipt: &Receipt,
    log: &Log,
    ca: &PublicKey,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let paths = paths(log)?;
    let delegation =
        first(&paths, |file| find_delegation(file, receipt.certificate))?.ok_or_else(|| {
            let text = format!(
                "the log does not contain the delegation certificate {}",
                receipt.certificate
            );
            Failure::data(text)
        })?;
    receipt
        .verify(&delegation, ca)
        .map_err(|error| Failure::new(DATA, "receipt_invalid", error.to_string()))?;
    let mut found = None;
    for path in &paths {
        found = find_checked(path, receipt.record)?;
        if found.is_some() {
            break;
        }
    }
    let changed = |fault: &str| {
        let text = format!(
            "the receipt is genuine, but record {}{fault}",
            receipt.record
        );
        Failure::new(DATA, "record_changed", text)
    };
    let (stored, chained) = found.ok_or_else(|| changed(" is not in the log: it was removed"))?;
    // An attacker can change a record and leave the hash in its line: recompute the hash from the previous one.
    if stored.hash != receipt.record_hash || !chained {
        return Err(changed(" was changed after the receipt was issued"));
    }
    let record: Value = serde_json::from_str(&stored.json()).map_err(Failure::protocol)?;
    let value = json!({"valid": true, "delegation": delegation.id(), "record": record});
    output.show(&value, || {
        format!("the receipt is genuine; its record:\n{}\n", stored.record)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Finds the record with this id, and whether its hash follows from the previous line.
fn find_checked(path: &Path, id: RecordId) -> Result<Option<(Stored, bool)>, Failure> {
    let faulty = |fault: &dyn std::fmt::Display| {
        let text = format!(
            "{}: {fault}; run `ephyr audit verify` for details",
            path.display()
        );
        Failure::data(text)
    };
    let mut file = open(path)?;
    let limit = u64::try_from(MAX_LINE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut previous = None;
    loop {
        let mut text = Vec::new();
        let read = (&mut file).take(limit).read_until(b'\n', &mut text);
        read.map_err(|error| Failure::unreadable(path, &error))?;
        // The broker may be writing the last line.
        if text.pop() != Some(b'\n') {
            return Ok(None);
        }
        let line = Line::split(&text).map_err(|fault| faulty(&fault))?;
        let record: Record = line.parse().map_err(|fault| faulty(&fault))?;
        let hash = line.hash();
        if record.id == id {
            let chained = previous.is_some_and(|previous| line.check(previous).is_ok());
            return Ok(Some((Stored { record, hash }, chained)));
        }
        previous = Some(hash);
    }
}

fn first<T>(
    paths: &[PathBuf],
    mut find: impl FnMut(BufReader<File>) -> Result<Option<T>, ephyr_audit::QueryError>,
) -> Result<Option<T>, Failure> {
    for path in paths {
        let found = find(open(path)?);
        let found = found.map_err(|error| Failure::data(format!("{}: {error}", path.display())))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn paths(log: &Log) -> Result<Vec<PathBuf>, Failure> {
    log_files(&log.log).map_err(|error| Failure::unreadable(&log.log, &error))
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    File::open(path)
        .map(BufReader::new)
        .map_err(|error| Failure::unreadable(path, &error))
}

fn read_checkpoint(path: &Path) -> Result<Checkpoint, Failure> {
    let text = read_regular(path, MAX_LINE).map_err(|error| Failure::unreadable(path, &error))?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::data(format!("{} is not a checkpoint: {error}", path.display())))
}

fn parse_event(text: &str) -> Result<Event, Failure> {
    text.parse().map_err(|_| {
        let known: Vec<&str> = Event::ALL.iter().map(|event| event.as_str()).collect();
        Failure::usage(format!(
            "unknown event {text:?}; the events are {}",
            known.join(", ")
        ))
    })
}

fn parse_severity(text: &str) -> Result<Severity, Failure> {
    serde_json::from_value(text.to_lowercase().into()).map_err(|_| {
        Failure::usage(format!(
            "unknown severity {text:?}; use info, warn, error or alert"
        ))
    })
}
