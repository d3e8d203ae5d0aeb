//! Tests of the files under `policy/`. The first line of each file states the expected findings.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ephyr_policy::{CODES, Diagnostic, Severity, code, load};
use proptest::prelude::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut list: Vec<(String, Vec<u8>)> = fs::read_dir(root().join("policy").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    list.sort();
    assert!(!list.is_empty());
    list
}

/// Parses `# expect: CODE line:column path; …`, where `-` is the empty path. `# expect: nothing` and JSON files
/// expect no findings.
fn expected(bytes: &[u8]) -> Vec<String> {
    let first = bytes.split(|b| *b == b'\n').next().unwrap();
    let first = std::str::from_utf8(first).unwrap();
    let first = first.trim_start_matches('\u{feff}').trim_end_matches('\r');
    match first.strip_prefix("# expect: ") {
        Some("nothing") => Vec::new(),
        Some(list) => list.split("; ").map(str::to_owned).collect(),
        None => {
            assert!(first.starts_with('{'), "no expectation: {first}");
            Vec::new()
        }
    }
}

fn found(findings: &[Diagnostic]) -> Vec<String> {
    let path = |d: &Diagnostic| match d.path.as_str() {
        "" => "-".to_owned(),
        path => path.to_owned(),
    };
    findings
        .iter()
        .map(|d| format!("{} {}:{} {}", d.code, d.line, d.column, path(d)))
        .collect()
}

/// Parses the file as leniently as possible; `None` if it is not YAML.
fn as_json(bytes: &[u8]) -> Option<serde_json::Value> {
    let options = serde_yaml::options! {
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::LastWins,
        merge_keys: serde_yaml::MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_yaml::from_slice_with_options(bytes, options).ok()
}

#[test]
fn rejected_files_give_exactly_the_stated_findings() {
    let mut faults = Vec::new();
    for (name, bytes) in files("reject") {
        let found = match load(&bytes, &name) {
            Ok(_) => vec!["accepted".to_owned()],
            Err(diagnostics) => found(diagnostics.as_slice()),
        };
        if found != expected(&bytes) {
            faults.push(format!(
                "{name}: expected {:?}, found {found:?}",
                expected(&bytes)
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn accepted_files_give_exactly_the_stated_warnings() {
    for (name, bytes) in files("accept") {
        let policy = load(&bytes, &name).unwrap_or_else(|d| panic!("{name}:\n{d}"));
        assert_eq!(found(policy.warnings()), expected(&bytes), "{name}");
    }
}

#[test]
fn example_policy_has_no_findings() {
    let bytes = fs::read(root().join("policy/example.yaml")).unwrap();
    let policy = load(&bytes, "example.yaml").unwrap_or_else(|d| panic!("{d}"));
    assert_eq!(policy.warnings(), []);
    assert_eq!(
        (
            policy.targets().count(),
            policy.roles().count(),
            policy.agents().count()
        ),
        (2, 3, 2)
    );
}

#[test]
fn every_code_has_a_file() {
    let stated: BTreeSet<String> = ["accept", "reject"]
        .into_iter()
        .flat_map(files)
        .flat_map(|(_, bytes)| expected(&bytes))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    let listed: BTreeSet<&str> = CODES.iter().map(|code| code.name).collect();
    assert_eq!(listed.len(), CODES.len(), "a code is listed twice");
    // Files that are too big for the repository; separate tests generate them.
    let missing: Vec<&&str> = listed
        .iter()
        .filter(|name| !matches!(**name, "E-TOO-BIG" | "E-TOO-MANY"))
        .filter(|name| !stated.contains(**name))
        .collect();
    assert!(missing.is_empty(), "no file for {missing:?}");
    assert!(listed.iter().filter(|name| name.starts_with("E-")).count() >= 40);
}

#[test]
fn findings_are_one_plain_sentence_without_secrets() {
    for (name, bytes) in files("reject") {
        let Err(diagnostics) = load(&bytes, &name) else {
            continue;
        };
        for finding in &diagnostics {
            assert!(finding.message.len() > 20, "{finding}");
            assert!(finding.message.len() < 400, "{finding}");
            assert!(!finding.message.contains('\n'), "{finding}");
            assert_eq!(finding.file, name);
            // Messages must not expose terms of Rust or serde to policy authors.
            for word in [
                "Option",
                "i64",
                "u64",
                "struct",
                "enum",
                "variant",
                "invalid type",
                "serde",
                "EOF",
            ] {
                assert!(!finding.message.contains(word), "{finding}");
            }
            for secret in ["5f4dcc3b5aa765d61d8327deb882cf99", "enc:3q2", "$2b$"] {
                assert!(!finding.message.contains(secret), "{finding}");
            }
        }
    }
}

#[test]
fn schema_accepts_every_accepted_file() {
    let schema = serde_json::from_str(&ephyr_policy::schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let example = fs::read(root().join("policy/example.yaml")).unwrap();
    let example = ("example.yaml".to_owned(), example);
    for (name, bytes) in files("accept").into_iter().chain([example]) {
        let value = as_json(&bytes).unwrap();
        if let Err(error) = validator.validate(&value) {
            panic!("{name}: {error} at {}", error.instance_path());
        }
    }
}

#[test]
fn schema_refuses_every_structural_fault() {
    let schema = serde_json::from_str(&ephyr_policy::schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = 0;
    for (name, bytes) in files("reject") {
        let visible = expected(&bytes).iter().any(|line| {
            let name = line.split(' ').next().unwrap();
            code(name).unwrap().in_schema
        });
        if let Some(value) = as_json(&bytes).filter(|_| visible) {
            assert!(!validator.is_valid(&value), "{name}: the schema accepts it");
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} files were checked");
}

#[test]
fn generated_files_are_up_to_date() {
    let outdated = "outdated; run `cargo run -p ephyr-policy --example generate`";
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    assert_eq!(
        read("policy/schema.json"),
        ephyr_policy::schema(),
        "{outdated}"
    );
    assert_eq!(
        read("docs/policy-errors.md"),
        ephyr_policy::codes_markdown(),
        "{outdated}"
    );
    let reference = read("docs/policy.md");
    assert!(
        reference.ends_with(&ephyr_policy::reference_markdown()),
        "{outdated}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_policy_is_accepted_or_refused_with_an_error(
        file in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6usize, any::<u8>()), 1..6),
    ) {
        let mut files = files("accept");
        let (name, mut bytes) = files.swap_remove(file.index(files.len()));
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len());
            damage(&mut bytes, at, kind, byte);
        }
        if let Err(diagnostics) = load(&bytes, &name) {
            let errors = diagnostics.into_iter().filter(|d| d.severity == Severity::Error);
            prop_assert!(errors.count() > 0);
        }
    }
}

fn damage(bytes: &mut Vec<u8>, at: usize, kind: usize, byte: u8) {
    let line = |from: usize| {
        bytes[from..]
            .iter()
            .position(|b| *b == b'\n')
            .map(|n| from + n + 1)
    };
    match kind {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        2 => {
            bytes.remove(at);
            bytes.push(b'\n');
        }
        // 3 repeats a line, 4 removes one, 5 replaces a value.
        3 | 4 => {
            if let (Some(start), Some(end)) = (line(at), line(at).and_then(line)) {
                let copy = if kind == 3 {
                    bytes[start..end].to_vec()
                } else {
                    Vec::new()
                };
                bytes.splice(start..end, copy.iter().chain(&copy).copied());
            }
        }
        _ => {
            const VALUES: [&[u8]; 6] = [
                b" ~\n",
                b" []\n",
                b" {}\n",
                b" 1.5\n",
                b" true\n",
                b" \"*\"\n",
            ];
            if let Some(colon) = bytes[at..]
                .iter()
                .position(|b| *b == b':')
                .map(|n| at + n + 1)
                && let Some(end) = line(colon)
            {
                let value = VALUES[usize::from(byte) % VALUES.len()];
                bytes.splice(colon..end, value.iter().copied());
            }
        }
    }
}

#[test]
fn file_larger_than_a_mebibyte_is_refused() {
    let mut bytes = fs::read(root().join("policy/example.yaml")).unwrap();
    bytes.resize(ephyr_policy::MAX_POLICY_BYTES, b'\n');
    assert!(load(&bytes, "p.yaml").is_ok());
    bytes.push(b'\n');
    let diagnostics = load(&bytes, "p.yaml").unwrap_err();
    assert_eq!(found(diagnostics.as_slice()), ["E-TOO-BIG 1:1 -"]);
}

#[test]
fn utf16_file_is_reported_as_utf16() {
    let text = fs::read_to_string(root().join("policy/accept/smallest.yaml")).unwrap();
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    let diagnostics = load(&bytes, "p.yaml").unwrap_err();
    assert_eq!(found(diagnostics.as_slice()), ["E-NOT-UTF8 1:1 -"]);
    assert!(diagnostics.as_slice()[0].message.contains("UTF-16"));
}

#[test]
fn secret_that_looks_like_a_number_is_not_quoted() {
    for value in ["0x5f4dcc3b", "1234567890", "1234.5"] {
        let text = format!(
            "agents:\n  a: {{ api_key_hash: {value}, api_key_hash_credential: {value} }}\n"
        );
        let diagnostics = load(text.as_bytes(), "p.yaml").unwrap_err();
        assert!(!diagnostics.to_string().contains(value), "{diagnostics}");
    }
}

#[test]
fn excess_findings_are_dropped_and_refuse_the_policy() {
    use std::fmt::Write as _;
    let mut text = String::from("global:\n");
    for n in 0..2000 {
        writeln!(text, "  k{n}: 1").unwrap();
    }
    let diagnostics = load(text.as_bytes(), "p.yaml").unwrap_err();
    assert_eq!(diagnostics.as_slice().len(), 1000);
    assert_eq!(diagnostics.as_slice()[0].code, "E-TOO-MANY");
}

#[test]
fn json_and_yaml_of_the_same_policy_differ_in_hash_only() {
    let yaml = fs::read(root().join("policy/accept/smallest.yaml")).unwrap();
    let json = fs::read(root().join("policy/accept/json.json")).unwrap();
    let (yaml, json) = (load(&yaml, "a").unwrap(), load(&json, "b").unwrap());
    assert_ne!(yaml.hash(), json.hash());
    let names = |policy: &ephyr_policy::Policy| -> Vec<String> {
        policy
            .agents()
            .map(|agent| agent.name.to_string())
            .collect()
    };
    assert_eq!(names(&yaml), names(&json));
}

#[test]
fn report_has_one_line_per_finding_and_a_count() {
    let diagnostics = load(b"agents: {}\nglobal: { max_tll: 5m }\n", "p.yaml").unwrap_err();
    let report = ephyr_policy::report(diagnostics.as_slice());
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(
        lines[1],
        "p.yaml:2:11: error E-UNKNOWN-KEY at global.max_tll: global has no key `max_tll`; did you mean \
         `max_ttl`?"
    );
    assert_eq!(lines[2], "2 errors, no warnings");
    let json = serde_json::to_value(&diagnostics).unwrap();
    assert_eq!(json[1]["severity"], "error");
    assert_eq!(json[1]["path"], "global.max_tll");
    assert_eq!(diagnostics.as_slice()[0].severity, Severity::Error);
}
