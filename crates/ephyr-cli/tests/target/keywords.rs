//! The table of sshd's keywords in `docs/targets.md` is complete and matches the rendered files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::host::{Host, INSIDE, policy};

/// Returns the table's keywords, in lower case, with their class.
fn table() -> BTreeMap<String, String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/targets.md");
    let text = fs::read_to_string(docs).unwrap();
    let (_, text) = text.split_once("### Every keyword of sshd").unwrap();
    let mut table = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [keywords, verdict, reason] = cells[..] else {
            panic!("{line}")
        };
        assert!(
            ["closed", "checked", "harmless"].contains(&verdict) && !reason.is_empty(),
            "{line}"
        );
        for keyword in keywords.split(", ") {
            let keyword = keyword.trim_matches('`').to_lowercase();
            assert_eq!(table.insert(keyword, verdict.to_owned()), None, "{line}");
        }
    }
    table
}

/// Returns every tail of a word at the end of a string in the program, since the linker merges string tails.
fn words_of(program: &[u8]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let runs = program.split(|byte| *byte == 0);
    for run in runs {
        let start = run
            .iter()
            .rposition(|byte| !is_word(*byte))
            .map_or(0, |at| at + 1);
        let run = &run[start..];
        for at in run.len().saturating_sub(40)..run.len().saturating_sub(2) {
            if run[at].is_ascii_lowercase() {
                words.insert(String::from_utf8(run[at..].to_vec()).unwrap());
            }
        }
    }
    words
}

/// Returns the number after the last `line ` of a message.
fn line_of(message: &str) -> Option<usize> {
    let (_, rest) = message.rsplit_once("line ")?;
    rest.split(':').next()?.split(' ').next()?.parse().ok()
}

/// Returns which of these words sshd accepts as keywords.
fn known(host: &Host, candidates: &[String]) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for part in candidates.chunks(100) {
        let mut rest = part;
        while !rest.is_empty() {
            // The value is invalid, so that sshd stops at a valid keyword. It reports unknown keywords and continues.
            let text: String = rest.iter().map(|word| format!("{word} \u{1}\n")).collect();
            fs::write(host.outside("words"), text).unwrap();
            let output = host
                .sh(&format!(
                    "/usr/sbin/sshd -t -ddd -f {INSIDE}/words 2>&1 || true"
                ))
                .out;
            let last = output.lines().last().unwrap_or_default();
            let read = if last.contains("terminating") || last.is_empty() {
                rest.len()
            } else {
                line_of(last).unwrap_or_else(|| panic!("{last}"))
            };
            let reports = |message: &str, word: &String| {
                output.lines().any(|line| {
                    line.rsplit_once(message)
                        .is_some_and(|(_, named)| named.trim() == word)
                })
            };
            known.extend(
                rest[..read]
                    .iter()
                    .filter(|word| {
                        ![
                            "Bad configuration option: ",
                            "Deprecated option ",
                            "Unsupported option ",
                        ]
                        .iter()
                        .any(|message| reports(message, word))
                    })
                    .cloned(),
            );
            rest = &rest[read..];
        }
    }
    known
}

#[test]
fn every_keyword_of_sshd_is_in_the_table() {
    let Some(host) = Host::start() else { return };
    let candidates: Vec<String> = words_of(&fs::read("/usr/sbin/sshd").unwrap())
        .into_iter()
        .collect();
    let known = known(&host, &candidates);
    // The search must find at least the keywords that sshd prints.
    let printed = host.ok("sshd -T");
    for keyword in printed.lines().filter_map(|line| line.split(' ').next()) {
        assert!(known.contains(keyword), "{keyword}");
    }
    assert!(known.contains("acceptenv") && !known.contains("useprivilegeseparation"));
    let table = table();
    let missing: Vec<&String> = known
        .iter()
        .filter(|word| !table.contains_key(*word))
        .collect();
    assert!(
        missing.is_empty(),
        "keywords missing in docs/targets.md: {missing:?}"
    );
}

#[test]
fn table_matches_the_rendered_files() {
    let Some(host) = Host::start() else { return };
    let table = table();
    let of = |verdict| {
        table
            .iter()
            .filter(move |(_, it)| *it == verdict)
            .map(|(keyword, _)| keyword.clone())
    };
    host.render("web", &policy(), &[]);
    let snippet = host.ok(&format!(
        "cat {INSIDE}/web/files/etc/ssh/sshd_config.d/50-ephyr-ephyr.conf"
    ));
    let block: BTreeSet<String> = snippet
        .lines()
        .filter(|line| line.starts_with("    ") && !line.trim().starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_lowercase)
        .collect();
    assert_eq!(block, of("closed").collect());
    let script = host.ok(&format!("cat {INSIDE}/web/sshd.sh {INSIDE}/web/rules.sh"));
    let words: BTreeSet<&str> = script
        .split(|at: char| !at.is_ascii_alphanumeric())
        .collect();
    let unchecked: Vec<String> = of("checked")
        .filter(|keyword| !words.contains(keyword.as_str()))
        .collect();
    assert!(
        unchecked.is_empty(),
        "keywords that the scripts do not check: {unchecked:?}"
    );
}
