//! `cargo xtask bench`: measures each figure against a reference from the same run, on the same cores, with the
//! same client. These are not tests; a figure that misses its bar is reported as such.

mod daemons;
mod load;
mod pure;
mod reference;
mod row;
mod ssh;
mod tasks;

use std::process::ExitCode;

use row::Row;

type Failure = Box<dyn std::error::Error>;

/// The name of a group of rows, and its benchmark.
type Group = (&'static str, fn() -> Result<Vec<Row>, Failure>);

const GROUPS: &[Group] = &[
    ("pure", pure::rows),
    ("tasks", tasks::rows),
    ("signer", daemons::signer),
    ("http", daemons::http),
    ("keys", daemons::wrong_keys),
    ("ssh", ssh::rows),
    ("memory", daemons::memory),
];

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the program's output"
)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let only: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let mut rows = Vec::new();
    let mut failed = false;
    for (name, measure) in GROUPS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        match measure() {
            Ok(measured) => {
                for row in measured {
                    if !json {
                        println!("{row}");
                    }
                    rows.push(row);
                }
            }
            Err(error) => {
                failed = true;
                eprintln!("{name}: {error}");
            }
        }
    }
    if json {
        match serde_json::to_string_pretty(&rows) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("{error}"),
        }
    }
    let missed = rows.iter().filter(|row| !row.ok).count();
    eprintln!("{} rows, {missed} miss their bar", rows.len());
    if failed || missed > 0 || rows.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
