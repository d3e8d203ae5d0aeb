//! `ephyr units render`: the files, their check by systemd, and the services' exposure.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ephyr_testkit::skip;
use tempfile::TempDir;

const AGENTS: &str = r#""inside": {"uid": 1501, "command": ["/bin/sh", "-c", "exec sleep $((1 + 1)) %n"]},
    "outside": {"uid": 1502, "command": ["/bin/true"], "egress": [{"cidr": "192.0.2.0/24", "port": 443}]},
    "by-hand": {"uid": 1503}"#;

/// A directory with rendered units and with stubs of the programs that they start.
struct Rendered {
    dir: TempDir,
}

#[cfg(test)]
impl Rendered {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("package/bin");
        fs::create_dir_all(&bin).unwrap();
        for name in [
            "ephyr",
            "ephyr-signer",
            "ephyr-broker",
            "ephyr-netguard",
            "nft",
        ] {
            fs::write(bin.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    fn render(&self, agents: &str) -> Output {
        let package = self.dir.path().join("package");
        let package = package.display();
        let settings = format!(
            r#"{{"package": "{package}", "nft": "{package}/bin/nft", "agents": {{{agents}}}}}"#
        );
        let file = self.dir.path().join("settings.json");
        fs::write(&file, settings).unwrap();
        ephyr()
            .args(["units", "render", "--out"])
            .arg(self.out())
            .arg("--settings")
            .arg(file)
            .output()
            .unwrap()
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("etc")
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.out().join("systemd/system").join(name)
    }

    fn units(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.out().join("systemd/system")).unwrap();
        let mut units: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        units.sort();
        units
    }
}

#[cfg(test)]
fn ephyr() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ephyr"))
}

#[cfg(test)]
fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the version of systemd; `None`, after [`skip`], without systemd-analyze.
#[cfg(test)]
fn systemd() -> Option<u32> {
    let Ok(output) = Command::new("systemd-analyze").arg("--version").output() else {
        skip("systemd-analyze is not installed");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().nth(1).unwrap().parse().ok()
}

/// Returns the messages of `systemd-analyze verify`; it exits with 0 even for unknown directives.
#[cfg(test)]
fn verify(units: &[PathBuf]) -> String {
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(units)
        .output()
        .unwrap();
    stderr(&output)
}

/// Replaces a service type and removes a directive that this version of systemd lacks.
#[cfg(test)]
fn downgrade(version: u32, units: &[PathBuf]) {
    for unit in units {
        let mut text = fs::read_to_string(unit).unwrap();
        if version < 253 {
            text = text.replace("Type=notify-reload", "Type=notify");
        }
        if version < 257 {
            text = text.replace("BindLogSockets=false\n", "");
        }
        fs::write(unit, text).unwrap();
    }
}

#[test]
fn systemd_understands_every_directive() {
    let Some(version) = systemd() else { return };
    let rendered = Rendered::new();
    assert_eq!(stderr(&rendered.render(AGENTS)), "");
    let units = rendered.units();
    assert_eq!(units.len(), 10, "{units:?}");
    downgrade(version, &units);
    assert_eq!(verify(&units), "");

    let broken = rendered.unit("ephyr-signer.service");
    let text = fs::read_to_string(&broken).unwrap();
    fs::write(&broken, text.replace("ProtectClock=", "ProtectCloak=")).unwrap();
    assert!(
        verify(&units).contains("ProtectCloak"),
        "the check reports an unknown directive"
    );
}

/// Whether the exposure of a service, from `systemd-analyze security`, is at most this many tenths (0 to 100).
#[cfg(test)]
fn is_at_most(unit: &Path, tenths: u32) -> bool {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(format!("--threshold={tenths}"))
        .arg(unit)
        .output()
        .unwrap();
    output.status.success()
}

#[test]
fn exposure_of_services_is_below_its_limit() {
    if systemd().is_none() {
        return;
    }
    let rendered = Rendered::new();
    rendered.render(AGENTS);
    for (unit, tenths) in [
        ("ephyr-signer.service", 8),
        ("ephyr-broker.service", 16),
        ("ephyr-netguard.service", 16),
        ("ephyr-agent-inside.service", 18),
    ] {
        assert!(is_at_most(&rendered.unit(unit), tenths), "{unit}: {tenths}");
    }
    let signer = rendered.unit("ephyr-signer.service");
    let text = fs::read_to_string(&signer).unwrap();
    fs::write(&signer, text.replace("CapabilityBoundingSet=\n", "")).unwrap();
    assert!(
        !is_at_most(&signer, 8),
        "without that line all capabilities are allowed"
    );
}

#[test]
fn unit_of_a_removed_agent_is_deleted_and_foreign_files_stay() {
    let rendered = Rendered::new();
    rendered.render(AGENTS);
    let (own, foreign) = (
        rendered.unit("ephyr-agent-outside.service"),
        rendered.unit("ephyr-agent-foreign.service"),
    );
    assert!(own.exists());
    fs::write(&foreign, "[Service]\nExecStart=/bin/true\n").unwrap();
    let output = rendered.render(r#""inside": {"uid": 1501, "command": ["/bin/true"]}"#);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("removed {}\n", own.display())),
        "{text}"
    );
    assert!(!own.exists() && foreign.exists());
    assert!(rendered.unit("ephyr-agent-inside.service").exists());
}

#[test]
fn invalid_settings_write_nothing_and_report_every_error() {
    let rendered = Rendered::new();
    let output = rendered.render(r#""a": {"uid": 0}, "b": {"uid": 1500, "user": "root"}"#);
    assert_eq!(output.status.code(), Some(65));
    let text = stderr(&output);
    assert!(
        text.contains("agents.a.uid") && text.contains("agents.b.user"),
        "{text}"
    );
    assert!(!rendered.out().exists());
    assert!(rendered.render(AGENTS).status.success());
    assert!(rendered.out().exists());
}
