//! Tests the sandbox with real processes: each denied operation is also shown to succeed where it is allowed.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const SIGSYS: i32 = 31;

#[cfg(test)]
mod support {
    use super::*;

    pub(super) fn probe() -> PathBuf {
        let tests = std::env::current_exe().unwrap();
        tests.ancestors().nth(2).unwrap().join("examples/confined")
    }

    pub(super) fn run(arguments: &[&str]) -> Output {
        Command::new(probe()).args(arguments).output().unwrap()
    }

    /// Runs the probe and returns its output: `ok…` or `refused: …`.
    pub(super) fn output_of(arguments: &[&str]) -> String {
        let output = run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{arguments:?}: {:?} {error}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(super) fn assert_denied(arguments: &[&str]) {
        let output = output_of(arguments);
        assert!(
            output.contains("ermission denied") || output.contains("not permitted"),
            "{output}"
        );
    }

    /// Returns the kernel's Landlock ABI, from the probe's report.
    pub(super) fn abi() -> u32 {
        let report = output_of(&["--minimum", "0", "report"]);
        let digits: String = report
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().unwrap()
    }
}

use support::{abi, assert_denied, output_of, probe, run};

#[test]
fn files_outside_the_rules_cannot_be_read_or_written() {
    let (open, closed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (open, closed) = (
        open.path().to_str().unwrap(),
        closed.path().to_str().unwrap(),
    );
    for dir in [open, closed] {
        fs::write(format!("{dir}/f"), "text").unwrap();
    }
    assert_eq!(
        output_of(&["--read", open, "read", &format!("{open}/f")]),
        "ok"
    );
    assert_denied(&["--read", open, "read", &format!("{closed}/f")]);
    assert_denied(&["--read", open, "create", &format!("{open}/g")]);
    assert_denied(&["--read", open, "append", &format!("{open}/f")]);
    assert_eq!(
        output_of(&["--write", open, "create", &format!("{open}/g")]),
        "ok"
    );
    assert_eq!(
        output_of(&["--write", open, "remove", &format!("{open}/g")]),
        "ok"
    );
    assert_denied(&["--read", open, "remove", &format!("{open}/f")]);
    assert_denied(&["--write", open, "execute", "/bin/true"]);
    assert_eq!(output_of(&["execute", "/bin/true"]), "ok");
}

#[test]
fn rule_may_name_a_file_and_missing_paths_must_be_optional() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let (file, other) = (format!("{dir}/f"), format!("{dir}/g"));
    for path in [&file, &other] {
        fs::write(path, "text").unwrap();
    }
    assert_eq!(output_of(&["--read", &file, "read", &file]), "ok");
    assert_denied(&["--read", &file, "read", &other]);
    let missing = format!("{dir}/missing");
    assert_eq!(output_of(&["--read-if-present", &missing, "nothing"]), "ok");
    let output = run(&["--read", &missing, "nothing"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing"));
}

#[test]
fn tcp_is_limited_to_the_listed_ports() {
    if abi() < 4 {
        return;
    }
    let (one, two) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
    let (one, two) = (port(&one), port(&two));
    assert_eq!(output_of(&["--network", &one, "connect", &one]), "ok");
    assert_denied(&["--network", &one, "connect", &two]);
    assert_denied(&["--minimum", "4", "connect", &one]);
    assert_denied(&["--minimum", "4", "bind", "0"]);
    assert_eq!(output_of(&["--network", "any", "connect", &two]), "ok");
    assert_eq!(output_of(&["--network", "any", "bind", "0"]), "ok");
}

#[test]
fn processes_outside_cannot_be_signalled() {
    if abi() < 6 {
        return;
    }
    let us = std::process::id().to_string();
    assert_denied(&["--minimum", "6", "signal", &us]);
    assert_eq!(output_of(&["signal", &us]), "ok");
}

#[test]
fn unix_sockets_are_limited_to_the_listed_directories() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _listener = UnixListener::bind(&path).unwrap();
    let (dir, path) = (dir.path().to_str().unwrap(), path.to_str().unwrap());
    assert_eq!(
        output_of(&["--connect-unix", dir, "connect-unix", path]),
        "ok"
    );
    if abi() >= 9 {
        assert_denied(&["--minimum", "9", "connect-unix", path]);
    }
}

#[test]
fn kernel_below_the_minimum_abi_is_refused() {
    let output = run(&["--minimum", "4000", "nothing"]);
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("4000"), "{error}");
}

#[test]
fn landlock_is_refused_while_a_second_thread_runs() {
    let output = run(&["--minimum", "0", "confine-beside-a-thread"]);
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("Threads(2)"), "{error}");
}

#[test]
fn signer_is_killed_by_the_kill_list_and_denied_other_calls() {
    let assert_killed = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(
            output.status.signal(),
            Some(SIGSYS),
            "{arguments:?} {output:?}"
        );
    };
    let signer =
        |rest: [&'static str; 2]| [["--network", "any"], ["--filter", "signer"], rest].concat();
    assert_killed(&signer(["execute", "/bin/true"]));
    assert_killed(&signer(["connect", "1"]));
    assert_killed(&signer(["udp", ""]));
    assert_killed(&signer(["connect-unix", "/nowhere"]));
    assert_killed(&signer(["pair", ""]));
    assert_killed(&signer(["thread", ""]));
    assert_denied(
        &[
            ["--write", "/tmp"],
            ["--filter", "signer"],
            ["chmod", "/tmp"],
        ]
        .concat(),
    );
    assert_eq!(output_of(&signer(["nothing", ""])), "ok");
    assert_eq!(output_of(&["--network", "any", "thread"]), "ok");
    assert_eq!(output_of(&["--network", "any", "pair"]), "ok");
}

#[test]
fn network_daemon_can_start_threads_but_no_program() {
    let network =
        |rest: [&'static str; 2]| [["--network", "any"], ["--filter", "network"], rest].concat();
    let output = run(&network(["execute", "/bin/true"]));
    assert!(
        !String::from_utf8_lossy(&output.stdout).contains("ok"),
        "{output:?}"
    );
    assert_eq!(output_of(&network(["thread", ""])), "ok");
    assert_eq!(output_of(&network(["udp", ""])), "ok");
    assert_eq!(output_of(&network(["bind", "0"])), "ok");
}

#[test]
fn sockets_from_systemd_are_found_by_name() {
    let start = |name: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener: OwnedFd = UnixListener::bind(&path).unwrap().into();
        // LISTEN_PID must be the probe's process, so the shell replaces itself with it.
        let script = format!(
            "exec 3<&0 4<&0; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=other:signer \
             exec {} activated {name}",
            probe().display()
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::from(listener))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        (dir, path, child)
    };
    let (_dir, path, child) = start("signer");
    let mut received = String::new();
    UnixStream::connect(&path)
        .unwrap()
        .read_to_string(&mut received)
        .unwrap();
    assert_eq!(received, "hello");
    assert_eq!(child.wait_with_output().unwrap().stdout, b"ok\n");
    let (_dir, _path, child) = start("broker");
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.starts_with(b"refused"), "{output:?}");
}

#[test]
fn notifications_are_sent_from_inside_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    let output = Command::new(probe())
        .args(["--minimum", "0", "--filter", "signer", "notify"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "3000000")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "ok Some(1.5s)\n");
    let mut buffer = [0; 200];
    let mut next = || {
        let n = systemd.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    };
    assert_eq!(next(), "READY=1");
    let reloading = next();
    let micros = reloading
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .unwrap();
    assert!(micros.parse::<u64>().unwrap() > 0);
    assert_eq!(next(), "STATUS=two lines");
    assert_eq!(next(), "STOPPING=1");
}

#[test]
fn memory_is_locked_or_the_reason_is_reported() {
    assert!(output_of(&["memory"]).starts_with("ok "));
    let script = format!("ulimit -l 0; exec {} memory", probe().display());
    let as_nobody = ["--reuid", "65534", "--clear-groups", "sh", "-c", &script];
    let output = Command::new("setpriv").args(as_nobody).output();
    if let Ok(output) = output
        && output.status.success()
    {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(stdout.contains("RLIMIT_MEMLOCK is 0 bytes"), "{stdout}");
    }
}
