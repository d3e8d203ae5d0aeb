//! The script in `docs/audit.md` verifies a log without this crate's code.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::*;

fn check(dir: &Path) -> Output {
    let document = include_str!("../../../../docs/audit.md");
    let script = document
        .split("```")
        .find_map(|block| block.strip_prefix("bash\n"));
    std::fs::write(dir.join("check.sh"), script.unwrap()).unwrap();
    Command::new("bash")
        .args(["check.sh", "audit.log", "ca.pub"])
        .current_dir(dir)
        .output()
        .unwrap()
}

#[test]
fn documented_script_accepts_a_log_and_detects_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (mut signer, writer) = (Signer::new(1), open(&path));
    append(
        &writer,
        &exec("printf '%s\\n' \"<é>\" \u{1b}[0m; echo ,\"hash\":\"x\"}"),
    );
    append(&writer, &exec("true"));
    signer.countersign(&writer);
    append(&writer, &exec("later"));
    drop(writer);
    let ca = |signer: &Signer| {
        std::fs::write(dir.path().join("ca.pub"), signer.ca().to_openssh().unwrap()).unwrap();
    };
    ca(&signer);
    let good = check(dir.path());
    let output = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(
        good.status.success(),
        "{output}{}",
        String::from_utf8_lossy(&good.stderr)
    );
    assert_eq!(output.trim(), "5 records, the first 3 countersigned");
    ca(&Signer::new(2));
    assert!(!check(dir.path()).status.success(), "another CA");
    ca(&signer);
    let original = text(&path);
    let changed = original.replace("true", "frue");
    std::fs::write(&path, &changed).unwrap();
    assert!(String::from_utf8_lossy(&check(dir.path()).stdout).contains("record 3: broken chain"));
    std::fs::write(&path, rehash(&lines(&changed))).unwrap();
    assert!(
        String::from_utf8_lossy(&check(dir.path()).stdout).contains("the first 3 records are not")
    );
    std::fs::write(&path, original).unwrap();
    assert!(check(dir.path()).status.success());
}
