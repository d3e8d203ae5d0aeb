//! Offline commands: CA keys, host keys, API keys, policies, token inspection.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use ephyr_testkit::{Program, RunOutput, Value};
use tempfile::tempdir;

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_ephyr"))
}

fn ephyr(arguments: &[&str]) -> RunOutput {
    program().run(arguments)
}

const POLICY: &str = "\
agents:
  scout:
    uid: 1500
    ssh:
      web: {roles: [read]}
roles:
  read: {principal: eph-read}
targets:
  web:
    host: web.example
    allowed_roles: [read]
    auto_approve: true
    host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDvXgYTLmHTbmVUfYW58bPtT6NpPYvrf0S6VbT8xRmFn
";

#[test]
fn ca_key_is_private_and_its_public_key_can_be_shown() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("ca_key");
    let path = path.to_str().unwrap();
    let made = ephyr(&["ca", "init", "--out", path, "--comment", "my CA"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.starts_with("ssh-ed25519 AAAA") && made.out.ends_with(" my CA\n"));
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let shown = ephyr(&["ca", "show", path]);
    assert_eq!(shown.out, made.out);
    let public = dir.path().join("ca.pub");
    fs::write(&public, &made.out).unwrap();
    assert_eq!(
        ephyr(&["ca", "show", public.to_str().unwrap()]).out,
        made.out
    );
}

#[test]
fn ca_key_file_is_never_replaced() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("ca_key");
    fs::write(&path, "precious").unwrap();
    let ran = ephyr(&["ca", "init", "--out", path.to_str().unwrap()]);
    assert_eq!(ran.code, 73);
    assert!(ran.err.contains("never replaced"), "{}", ran.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn api_key_matches_its_hash_and_is_unique() {
    let made = ephyr(&["keys", "new", "scout", "--json"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let value: Value = made.out.parse().unwrap();
    let (key, hash) = (
        value["api_key"].as_str().unwrap(),
        value["api_key_hash"].as_str().unwrap(),
    );
    let random = key.strip_prefix("eph_scout_").unwrap();
    assert_eq!(random.len(), 43);
    assert!(random.chars().all(|c| c.is_ascii_alphanumeric()));
    assert!(hash.starts_with("$2b$10$"), "{hash}");
    assert!(bcrypt::non_truncating_verify(key, hash).unwrap());
    assert_ne!(ephyr(&["keys", "new", "scout", "--json"]).out, made.out);
}

#[test]
fn name_too_long_for_bcrypt_is_refused() {
    let name = "a".repeat(23);
    assert_eq!(ephyr(&["keys", "new", &name]).code, 0);
    let ran = ephyr(&["keys", "new", &(name + "a")]);
    assert_eq!(ran.code, 64, "{}", ran.out);
    assert!(ran.err.contains("too long"), "{}", ran.err);
}

#[test]
fn only_regular_files_are_read_without_blocking() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
    let fifo = path.to_str().unwrap();
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    for arguments in [
        &["policy", "validate", fifo][..],
        &["policy", "hash", fifo],
        &["policy", "build", fifo, "--out", out],
        &["ca", "show", fifo],
        &["units", "render", "--out", out, "--settings", fifo],
        &["targets", "--credential-file", fifo],
    ] {
        let ran = ephyr(arguments);
        assert_eq!(ran.code, 66, "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(
            ran.err.contains("it is a FIFO"),
            "{arguments:?}: {}",
            ran.err
        );
    }
    assert_eq!(
        program()
            .input(POLICY)
            .run(&["policy", "validate", "-"])
            .code,
        0
    );
    let link = dir.path().join("link");
    fs::write(dir.path().join("policy.yaml"), POLICY).unwrap();
    std::os::unix::fs::symlink("policy.yaml", &link).unwrap();
    assert_eq!(
        ephyr(&["policy", "validate", link.to_str().unwrap()]).code,
        0
    );
    let long = fs::File::create(&link).unwrap();
    long.set_len(1 << 30).unwrap();
    let ran = ephyr(&["policy", "validate", link.to_str().unwrap()]);
    assert!(ran.err.contains("longer than 1048576 bytes"), "{}", ran.err);
}

#[test]
fn validation_status_is_0_if_valid_and_2_with_errors() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    let file = path.to_str().unwrap();
    fs::write(&path, POLICY).unwrap();
    let good = ephyr(&["policy", "validate", file]);
    assert_eq!(good.code, 0, "{}{}", good.out, good.err);
    fs::write(&path, POLICY.replace("roles: [read]}", "roles: [raed]}")).unwrap();
    let bad = ephyr(&["policy", "validate", file]);
    assert_eq!(bad.code, 2, "{}{}", bad.out, bad.err);
    assert!(bad.out.contains(&format!("{file}:5:")), "{}", bad.out);
    assert!(
        bad.out.contains("agents.scout.ssh.web.roles[0]"),
        "{}",
        bad.out
    );
    let json = ephyr(&["policy", "validate", file, "--json"]);
    assert_eq!(json.code, 2);
    let value: Value = json.out.parse().unwrap();
    assert_eq!(value["valid"], false);
    assert_eq!(value["findings"][0]["line"], 5);
}

#[test]
fn policy_with_warnings_is_status_1() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    let unused = POLICY.replace(
        "roles:\n  read",
        "roles:\n  idle: {principal: eph-idle}\n  read",
    );
    fs::write(&path, unused).unwrap();
    let ran = ephyr(&["policy", "validate", path.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("warning"), "{}", ran.out);
}

#[test]
fn verbose_validation_lists_unknown_programs() {
    let patterns = POLICY.replace(
        "principal: eph-read",
        "principal: eph-read, commands: [\"frobnicate -x *\", \"tar *\", \"cat *\", \"frobnicate y\"]",
    );
    assert_ne!(patterns, POLICY);
    let validate = |arguments: &[&str]| {
        let all = [&["policy", "validate", "-"], arguments].concat();
        program().input(&patterns).run(&all)
    };
    let (quiet, verbose) = (validate(&[]), validate(&["--verbose"]));
    assert_eq!(
        (quiet.code, verbose.code),
        (1, 1),
        "{}{}",
        verbose.out,
        verbose.err
    );
    assert!(!quiet.out.contains("frobnicate"), "{}", quiet.out);
    assert!(quiet.out.contains("W-COMMAND-OPEN"), "{}", quiet.out);
    assert!(
        verbose.out.contains(
            "unknown program at roles.read.commands[0]: `frobnicate` is not in the table"
        ),
        "{}",
        verbose.out
    );
    assert_eq!(
        verbose.out.matches("unknown program").count(),
        1,
        "{}",
        verbose.out
    );
    let json: Value = validate(&["--verbose", "--json"]).out.parse().unwrap();
    assert_eq!(json["unknown_programs"][0]["program"], "frobnicate");
    let json: Value = validate(&["--json"]).out.parse().unwrap();
    assert_eq!(json.get("unknown_programs"), None);
}

#[test]
fn policy_hash_covers_the_bytes_of_the_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    fs::write(&path, POLICY).unwrap();
    let first = ephyr(&["policy", "hash", path.to_str().unwrap()]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!(first.out.trim().len(), 64);
    fs::write(&path, POLICY.to_owned() + "# more\n").unwrap();
    assert_ne!(
        ephyr(&["policy", "hash", path.to_str().unwrap()]).out,
        first.out
    );
    fs::write(&path, "agents: {}\n").unwrap();
    assert_eq!(ephyr(&["policy", "hash", path.to_str().unwrap()]).code, 65);
}

#[test]
fn missing_file_is_status_66() {
    for arguments in [
        &["policy", "validate", "/nonexistent"][..],
        &["ca", "show", "/nonexistent"],
        &[
            "audit",
            "verify",
            "--log",
            "/nonexistent/x",
            "--ca-pub",
            "/nonexistent",
        ],
        &["targets", "--credential-file", "/nonexistent"],
    ] {
        let ran = ephyr(arguments);
        assert_eq!(ran.code, 66, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains("/nonexistent"), "{}", ran.err);
    }
}

#[test]
fn policy_schema_is_json() {
    let ran = ephyr(&["policy", "schema"]);
    let schema: Value = ran.out.parse().unwrap();
    assert!(schema["properties"]["agents"].is_object());
}

#[test]
fn inspect_refuses_invalid_tokens_without_echoing_them() {
    let ran = program().input("mac_not!a!token\n").run(&["inspect", "-"]);
    assert_eq!(ran.code, 65);
    assert!(!ran.err.contains("not!a!token"), "{}", ran.err);
    let key = program().input("eph_scout_x9Kq7").run(&["inspect", "-"]);
    assert_eq!(key.code, 65);
    assert!(key.err.contains("API key"), "{}", key.err);
    assert!(!key.err.contains("x9Kq7"), "{}", key.err);
    let none = ephyr(&["inspect"]);
    assert_eq!(none.code, 64);
    assert!(none.err.contains("EPHYR_TOKEN"), "{}", none.err);
}

#[test]
fn ca_key_of_another_algorithm_is_refused_by_name() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    for file in [file.clone(), file.with_extension("pub")] {
        let ran = ephyr(&["ca", "show", file.to_str().unwrap()]);
        assert_eq!((ran.code, ran.out.as_str()), (65, ""));
        assert!(
            ran.err.contains("ssh-rsa") && ran.err.contains("ephyr ca init"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn policy_is_read_from_standard_input() {
    let validate = |text: &str| program().input(text).run(&["policy", "validate", "-"]);
    assert_eq!(validate(POLICY).code, 0);
    let wrong = validate(&POLICY.replace("uid: 1500", "uid: root"));
    assert_eq!(wrong.code, 2);
    assert!(wrong.out.starts_with("standard input:"), "{}", wrong.out);
    let empty = validate("");
    assert!(
        empty.out.starts_with("standard input:1:1: error E-EMPTY"),
        "{}",
        empty.out
    );
}

#[test]
fn host_without_a_key_is_named_with_its_port() {
    let ran = ephyr(&["host-key", "127.0.0.1:1"]);
    assert_eq!(ran.code, 69, "{}", ran.out);
    assert!(ran.err.contains("127.0.0.1 port 1"), "{}", ran.err);
}

#[test]
fn nft_render_prints_the_ruleset_or_only_the_definitions() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    fs::write(&path, POLICY).unwrap();
    let path = path.to_str().unwrap();
    let whole = ephyr(&["nft", "render", "--policy", path]);
    assert_eq!(whole.code, 0, "{}", whole.err);
    let rules = include_str!("../../../nft/ephyr.nft");
    assert!(whole.out.starts_with(rules));
    let definitions = ephyr(&["nft", "render", "--policy", path, "--definitions"]);
    assert_eq!(definitions.code, 0, "{}", definitions.err);
    assert!(
        definitions
            .out
            .contains("agents { 1500 comment \"scout\" }")
    );
    assert!(whole.out.ends_with(&definitions.out));

    fs::write(path, POLICY.replace("1500", "0")).unwrap();
    let refused = ephyr(&["nft", "render", "--policy", path]);
    assert_eq!(refused.code, 65);
    assert_eq!(refused.out, "");
    assert!(refused.err.contains("E-UID-ROOT"), "{}", refused.err);
    let public = ephyr(&[
        "nft",
        "render",
        "--policy",
        path,
        "--mcp-listen",
        "0.0.0.0:1",
    ]);
    assert_eq!(public.code, 64);
    assert!(public.err.contains("loopback"), "{}", public.err);
}
