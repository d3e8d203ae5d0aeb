//! Rendered files, output and documentation contain no secrets or default credentials.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use ephyr_testkit::Program;
use tempfile::{TempDir, tempdir};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDvXgYTLmHTbmVUfYW58bPtT6NpPYvrf0S6VbT8xRmFn";

const POLICY: &str = "\
agents:
  scout:
    uid: 1500
    ssh: {web: {roles: [op]}}
  far:
    api_key_hash_credential: far_hash
    ssh: {web: {roles: [op]}}
roles:
  op: {principal: eph-op, sudo: [/usr/bin/df -h]}
targets:
  web: {host: web.example, allowed_roles: [op], auto_approve: true, host_key: KEY}
";

/// Returns the first secret in a text, such as an API key, a token, a hash or a private key.
fn secret(text: &str) -> Option<String> {
    let is_secret_char = |c: char| c.is_ascii_alphanumeric() || "./+=-_".contains(c);
    let behind = |mark: &str, least: usize| {
        text.match_indices(mark).find_map(|(at, _)| {
            let rest = &text[at + mark.len()..];
            let end = rest.find(|c| !is_secret_char(c)).unwrap_or(rest.len());
            (end >= least).then(|| format!("{mark}{}", &rest[..end]))
        })
    };
    // The random part of an API key has at least 22 characters; tokens and hashes are longer.
    let random = behind("eph_", 24).or_else(|| behind("mac_", 10));
    let hash = ["$2a$", "$2b$", "$2y$"].iter().find_map(|mark| {
        let digits = behind(mark, 2)?;
        text.contains(&format!("{digits}$")).then_some(digits)
    });
    let key = text
        .contains("PRIVATE KEY-----\n")
        .then(|| "a private key".to_owned());
    let names = ["TOKEN=", "SECRET=", "PASSWORD=", "PASSWD=", "API_KEY="];
    let assigned = names.iter().find_map(|name| behind(name, 1));
    random.or(hash).or(key).or(assigned)
}

fn run(words: &[&str]) -> String {
    let ran = Program::new(env!("CARGO_BIN_EXE_ephyr")).run(words);
    assert!(matches!(ran.code, 0 | 1), "{words:?}: {}", ran.err);
    format!("{}\n{}", ran.out, ran.err)
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // Tests contain invalid secrets as input.
            if !path.ends_with("tests") {
                files(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn assert_no_secret_below(directory: &Path) {
    let mut found = Vec::new();
    files(directory, &mut found);
    assert!(!found.is_empty(), "{}", directory.display());
    for file in found {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(secret(&text), None, "{}", file.display());
    }
}

fn rendered() -> TempDir {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("policy.yaml"), POLICY.replace("KEY", KEY)).unwrap();
    fs::write(at("ca.pub"), format!("{KEY}\n")).unwrap();
    let settings = r#"{"credentials": {"far_hash": {"file": "/etc/ephyr/far_hash"}},
        "agents": {"scout": {"uid": 1500, "command": ["/bin/true"]}}}"#;
    fs::write(at("units.json"), settings).unwrap();
    let (policy, ca) = (at("policy.yaml"), at("ca.pub"));
    let (out, web, built) = (at("etc"), at("web"), at("built"));
    run(&[
        "units",
        "render",
        "--out",
        &out,
        "--settings",
        &at("units.json"),
    ]);
    run(&[
        "target", "render", "web", "--policy", &policy, "--ca-pub", &ca, "--format", "debian",
        "--out", &web,
    ]);
    run(&["policy", "build", &policy, "--out", &built, "--ca-pub", &ca]);
    fs::write(at("ruleset"), run(&["nft", "render", "--policy", &policy])).unwrap();
    dir
}

#[test]
fn w30_rendered_files_and_documents_contain_no_secrets() {
    assert_no_secret_below(rendered().path());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for place in ["templates", "docs", "nix", "nixos-module", "nft"] {
        assert_no_secret_below(&root.join(place));
    }
    for file in ["policy/example.yaml", "README.md", "flake.nix"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(secret(&text), None, "{file}");
    }
    for known in [
        "EPHYR_DASHBOARD_TOKEN=dev",
        "key: eph_scout_0123456789abcdefghijkl",
        "Bearer mac_AgAAAAAAAA",
        "$2b$10$AZOz/TtZIVZ4wfLNlBUyYO",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
    ] {
        assert!(secret(known).is_some(), "{known}");
    }
}

#[test]
fn w30_each_key_is_random_and_printed_only_on_request() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let keys = [path("one"), path("two")].map(|file| {
        let printed = run(&["ca", "init", "--out", &file]);
        assert_eq!(secret(&printed), None, "only the public key is printed");
        printed.split_whitespace().nth(1).unwrap().to_owned()
    });
    assert_ne!(keys[0], keys[1]);
    let made = [(); 2].map(|()| {
        let text = run(&["keys", "new", "scout"]);
        let start = text.find("eph_scout_").unwrap() + "eph_scout_".len();
        let random: String = text[start..]
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        assert!(random.len() >= 43, "256 bits: {}", random.len());
        random
    });
    assert_ne!(made[0], made[1]);
}
