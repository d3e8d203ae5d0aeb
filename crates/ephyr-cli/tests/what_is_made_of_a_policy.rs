//! `ephyr policy build` and `ephyr target render`, as an operator meets them; what the files do on a host is in
//! `tests/target`.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ephyr_testkit::{Program, Ran, Value};
use tempfile::{TempDir, tempdir};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDvXgYTLmHTbmVUfYW58bPtT6NpPYvrf0S6VbT8xRmFn";

const POLICY: &str = "\
# As the operator wrote it.
agents:
  scout:
    uid: 1500
    ssh:
      web: {roles: [read]}
      db: {roles: [op]}
roles:
  read: {principal: eph-read}
  op: {principal: eph-op, sudo: [/usr/bin/df -h]}
targets:
  web: {host: web.example, allowed_roles: [read], auto_approve: true, host_key: KEY}
  db: {host: db.example, allowed_roles: [op], auto_approve: true, host_key: KEY}
";

/// A directory with a policy and the CA's keys.
struct Place(TempDir);

impl Place {
    fn new(policy: &str) -> Self {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("in.yaml"), policy.replace("KEY", KEY)).unwrap();
        fs::write(dir.path().join("ca.pub"), format!("{KEY}\n")).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program; a word that begins with `@` is a path in the directory.
    fn run(&self, words: &str) -> Ran {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).to_str().unwrap().to_owned(),
            None => word.to_owned(),
        };
        let words: Vec<String> = words.split(' ').map(word).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Program::new(env!("CARGO_BIN_EXE_ephyr")).run(&words)
    }

    /// The names in the directory, hidden ones too.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn json(path: &Path) -> Value {
    fs::read_to_string(path).unwrap().parse().unwrap()
}

#[test]
fn build_writes_the_exact_policy_and_what_every_target_needs() {
    let place = Place::new(POLICY);
    let ran = place.run("policy build @in.yaml --out @out --ca-pub @ca.pub");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("2 targets") && ran.err.is_empty());
    let source = fs::read(place.path("in.yaml")).unwrap();
    assert_eq!(fs::read(place.path("out/policy.yaml")).unwrap(), source);
    let ruleset = place.run("nft render --policy @in.yaml").out;
    let built = fs::read_to_string(place.path("out/nft/ephyr.nft")).unwrap();
    assert_eq!(built, ruleset);
    for name in ["web", "db"] {
        let file = place.path(&format!("out/targets/{name}.json"));
        let command =
            format!("target render {name} --policy @in.yaml --ca-pub @ca.pub --format json");
        assert_eq!(fs::read_to_string(&file).unwrap(), place.run(&command).out);
        assert_eq!(json(&file)["target"], name);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
    }
    assert_eq!(place.names(), ["ca.pub", "in.yaml", "out"]);
}

#[test]
fn without_the_cas_keys_only_their_file_is_missing() {
    let place = Place::new(POLICY);
    assert_eq!(
        place
            .run("policy build @in.yaml --out @with --ca-pub @ca.pub")
            .code,
        0
    );
    assert_eq!(place.run("policy build @in.yaml --out @without").code, 0);
    let paths = |dir: &str| -> Vec<String> {
        let host = json(&place.path(&format!("{dir}/targets/web.json")));
        let files = host["files"].as_array().unwrap();
        let path = |file: &Value| file["path"].as_str().unwrap().to_owned();
        files.iter().map(path).collect()
    };
    let (mut with, without) = (paths("with"), paths("without"));
    with.retain(|path| path != "/etc/ssh/ephyr/ephyr/ca.pub");
    assert_eq!(with, without);
    assert_eq!(paths("with").len(), without.len() + 1);
}

#[test]
fn a_bad_policy_builds_nothing_and_every_error_has_its_place_and_key() {
    let bad = POLICY
        .replace("roles: [op]}\nroles", "roles: [oops]}\nroles")
        .replace("host: web.example", "hots: web.example");
    let place = Place::new(&bad);
    let ran = place.run("policy build @in.yaml --out @out");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    let file = place.path("in.yaml");
    for (line, key) in [(7, "agents.scout.ssh.db"), (12, "targets.web")] {
        let at = format!("{}:{line}:", file.display());
        assert!(ran.err.contains(&at), "no {at} in {}", ran.err);
        assert!(ran.err.contains(key), "no {key} in {}", ran.err);
    }
    assert_eq!(place.names(), ["ca.pub", "in.yaml"]);
    let ran = place.run("policy build @in.yaml --out @out --json");
    let value: Value = ran.err.parse().unwrap();
    assert_eq!((ran.code, &value["valid"]), (2, &false.into()));
    assert!(value["findings"].as_array().unwrap().len() >= 2, "{value}");
    // It tells the same as the command that only checks.
    let checked = place.run("policy validate @in.yaml");
    assert_eq!(
        (checked.code, checked.out.trim_end()),
        (
            2,
            place.run("policy build @in.yaml --out @out").err.trim_end()
        )
    );
}

#[test]
fn a_policy_with_warnings_is_built_and_says_so() {
    let idle = POLICY.replace("agents:\n", "agents:\n  idle: {uid: 1501}\n");
    let place = Place::new(&idle);
    let checked = place.run("policy validate @in.yaml");
    assert_eq!(checked.code, 1, "{}{}", checked.out, checked.err);
    let ran = place.run("policy build @in.yaml --out @out");
    assert_eq!((ran.code, ran.err.trim_end()), (1, checked.out.trim_end()));
    assert!(place.path("out/policy.yaml").exists());
}

#[test]
fn what_is_there_is_never_written_over() {
    let place = Place::new(POLICY);
    fs::create_dir(place.path("out")).unwrap();
    for command in [
        "policy build @in.yaml --out @out",
        "target render web --policy @in.yaml --ca-pub @ca.pub --format debian --out @out",
        "policy build @in.yaml --out @ca.pub",
    ] {
        let ran = place.run(command);
        assert_eq!(ran.code, 73, "{command}: {}", ran.err);
        assert!(ran.err.contains("is there already"), "{}", ran.err);
    }
    assert_eq!(fs::read_dir(place.path("out")).unwrap().count(), 0);
    assert_eq!(place.names(), ["ca.pub", "in.yaml", "out"]);
    let ran = place.run("policy build @in.yaml --out @no/where");
    assert_eq!(ran.code, 73, "{}", ran.err);
    fs::remove_dir(place.path("out")).unwrap();
    assert_eq!(place.run("policy build @in.yaml --out @out").code, 0);
}

#[test]
fn what_render_is_asked_wrongly_is_told() {
    let place = Place::new(POLICY);
    fs::write(place.path("none.pub"), "# nothing\n").unwrap();
    fs::write(place.path("bad.pub"), format!("{KEY}\nssh-rsa nonsense\n")).unwrap();
    let render = |rest: &str| place.run(&format!("target render --policy @in.yaml {rest}"));
    for (rest, code, why) in [
        ("wbe --ca-pub @ca.pub --format json", 65, "it has db, web"),
        ("web --ca-pub @none.pub --format json", 65, "ephyr ca show"),
        ("web --ca-pub @bad.pub --format json", 65, "line 2"),
        ("web --ca-pub @gone.pub --format json", 66, "cannot be read"),
        ("web --ca-pub @ca.pub --format debian", 64, "--out DIR"),
        (
            "web --ca-pub @ca.pub --format json --authority A.b",
            64,
            "authority",
        ),
        ("web --format json", 64, "--ca-pub"),
    ] {
        let ran = render(rest);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (code, ""),
            "{rest}: {}",
            ran.err
        );
        assert!(ran.err.contains(why), "{rest}: {}", ran.err);
    }
    assert_eq!(render("web --ca-pub @ca.pub --format json").code, 0);
}

#[test]
fn the_debian_form_is_files_and_scripts_and_json_one_document() {
    let place = Place::new(POLICY);
    let render = "target render db --policy @in.yaml --ca-pub @ca.pub --authority two";
    let ran = place.run(&format!("{render} --format debian --out @tree"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        ran.out,
        format!(
            "target db in {}: accounts eph-op\n",
            place.path("tree").display()
        )
    );
    let ran = place.run(&format!("{render} --format json --out @document"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let host = json(&place.path("document/db.json"));
    for file in host["files"].as_array().unwrap() {
        let path = place.path(&format!("tree/files{}", file["path"].as_str().unwrap()));
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            file["content"].as_str().unwrap()
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            format!("{mode:04o}"),
            file["mode"].as_str().unwrap(),
            "{}",
            path.display()
        );
    }
    for script in ["install.sh", "uninstall.sh", "check.sh"] {
        let mode = fs::metadata(place.path(&format!("tree/{script}")))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}
