//! `ephyr policy build` and `ephyr target render`: output, files and errors. `tests/target` tests the files on a host.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ephyr_testkit::{Program, RunOutput, Value};
use tempfile::{TempDir, tempdir};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDvXgYTLmHTbmVUfYW58bPtT6NpPYvrf0S6VbT8xRmFn";

const POLICY: &str = "\
# A comment of the operator.
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
struct Workspace(TempDir);

impl Workspace {
    fn new(policy: &str) -> Self {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("in.yaml"), policy.replace("KEY", KEY)).unwrap();
        fs::write(dir.path().join("ca.pub"), format!("{KEY}\n")).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `ephyr`; a word that begins with `@` is a path in the directory.
    fn run(&self, words: &str) -> RunOutput {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).to_str().unwrap().to_owned(),
            None => word.to_owned(),
        };
        let words: Vec<String> = words.split(' ').map(word).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Program::new(env!("CARGO_BIN_EXE_ephyr")).run(&words)
    }

    /// The names in the directory, including hidden ones.
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
fn build_writes_the_policy_ruleset_and_target_files() {
    let workspace = Workspace::new(POLICY);
    let ran = workspace.run("policy build @in.yaml --out @out --ca-pub @ca.pub");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("2 targets") && ran.err.is_empty());
    let source = fs::read(workspace.path("in.yaml")).unwrap();
    assert_eq!(fs::read(workspace.path("out/policy.yaml")).unwrap(), source);
    let ruleset = workspace.run("nft render --policy @in.yaml").out;
    let built = fs::read_to_string(workspace.path("out/nft/ephyr.nft")).unwrap();
    assert_eq!(built, ruleset);
    for name in ["web", "db"] {
        let file = workspace.path(&format!("out/targets/{name}.json"));
        let command =
            format!("target render {name} --policy @in.yaml --ca-pub @ca.pub --format json");
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            workspace.run(&command).out
        );
        assert_eq!(json(&file)["target"], name);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
    }
    assert_eq!(workspace.names(), ["ca.pub", "in.yaml", "out"]);
}

#[test]
fn build_without_ca_keys_omits_only_ca_pub() {
    let workspace = Workspace::new(POLICY);
    assert_eq!(
        workspace
            .run("policy build @in.yaml --out @with --ca-pub @ca.pub")
            .code,
        0
    );
    assert_eq!(
        workspace.run("policy build @in.yaml --out @without").code,
        0
    );
    let paths = |dir: &str| -> Vec<String> {
        let host = json(&workspace.path(&format!("{dir}/targets/web.json")));
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
fn invalid_policy_builds_nothing_and_reports_every_error() {
    let bad = POLICY
        .replace("roles: [op]}\nroles", "roles: [oops]}\nroles")
        .replace("host: web.example", "hots: web.example");
    let workspace = Workspace::new(&bad);
    let ran = workspace.run("policy build @in.yaml --out @out");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    let file = workspace.path("in.yaml");
    for (line, key) in [(7, "agents.scout.ssh.db"), (12, "targets.web")] {
        let at = format!("{}:{line}:", file.display());
        assert!(ran.err.contains(&at), "no {at} in {}", ran.err);
        assert!(ran.err.contains(key), "no {key} in {}", ran.err);
    }
    assert_eq!(workspace.names(), ["ca.pub", "in.yaml"]);
    let ran = workspace.run("policy build @in.yaml --out @out --json");
    let value: Value = ran.err.parse().unwrap();
    assert_eq!((ran.code, &value["valid"]), (2, &false.into()));
    assert!(value["findings"].as_array().unwrap().len() >= 2, "{value}");
    // The report is that of `policy validate`.
    let checked = workspace.run("policy validate @in.yaml");
    assert_eq!(
        (checked.code, checked.out.trim_end()),
        (
            2,
            workspace
                .run("policy build @in.yaml --out @out")
                .err
                .trim_end()
        )
    );
}

#[test]
fn policy_with_warnings_is_built_with_status_1() {
    let idle = POLICY.replace("agents:\n", "agents:\n  idle: {uid: 1501}\n");
    let workspace = Workspace::new(&idle);
    let checked = workspace.run("policy validate @in.yaml");
    assert_eq!(checked.code, 1, "{}{}", checked.out, checked.err);
    let ran = workspace.run("policy build @in.yaml --out @out");
    assert_eq!((ran.code, ran.err.trim_end()), (1, checked.out.trim_end()));
    assert!(workspace.path("out/policy.yaml").exists());
}

#[test]
fn existing_paths_are_never_overwritten() {
    let workspace = Workspace::new(POLICY);
    fs::create_dir(workspace.path("out")).unwrap();
    for command in [
        "policy build @in.yaml --out @out",
        "target render web --policy @in.yaml --ca-pub @ca.pub --format debian --out @out",
        "policy build @in.yaml --out @ca.pub",
    ] {
        let ran = workspace.run(command);
        assert_eq!(ran.code, 73, "{command}: {}", ran.err);
        assert!(ran.err.contains("already exists"), "{}", ran.err);
    }
    assert_eq!(fs::read_dir(workspace.path("out")).unwrap().count(), 0);
    assert_eq!(workspace.names(), ["ca.pub", "in.yaml", "out"]);
    let ran = workspace.run("policy build @in.yaml --out @no/where");
    assert_eq!(ran.code, 73, "{}", ran.err);
    fs::remove_dir(workspace.path("out")).unwrap();
    assert_eq!(workspace.run("policy build @in.yaml --out @out").code, 0);
}

#[test]
fn invalid_arguments_of_target_render_are_reported() {
    let workspace = Workspace::new(POLICY);
    fs::write(workspace.path("none.pub"), "# nothing\n").unwrap();
    fs::write(
        workspace.path("bad.pub"),
        format!("{KEY}\nssh-rsa nonsense\n"),
    )
    .unwrap();
    let render = |rest: &str| workspace.run(&format!("target render --policy @in.yaml {rest}"));
    for (rest, code, cause) in [
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
        assert!(ran.err.contains(cause), "{rest}: {}", ran.err);
    }
    assert_eq!(render("web --ca-pub @ca.pub --format json").code, 0);
}

#[test]
fn debian_format_has_files_and_scripts_and_json_one_document() {
    let workspace = Workspace::new(POLICY);
    let render = "target render db --policy @in.yaml --ca-pub @ca.pub --authority two";
    let ran = workspace.run(&format!("{render} --format debian --out @tree"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        ran.out,
        format!(
            "target db in {}: accounts eph-op\n",
            workspace.path("tree").display()
        )
    );
    let ran = workspace.run(&format!("{render} --format json --out @document"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let host = json(&workspace.path("document/db.json"));
    for file in host["files"].as_array().unwrap() {
        let path = workspace.path(&format!("tree/files{}", file["path"].as_str().unwrap()));
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
        let mode = fs::metadata(workspace.path(&format!("tree/{script}")))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}
