//! Startup refusals. They happen before the first request to the signer, so no signer runs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use ephyr_testkit::http::Endpoint;

/// Runs a broker in this directory, with `mcp` passed as a systemd socket, until it is ready or has exited. Returns
/// its log, and the result of `look` if it became ready.
fn start<T>(
    dir: &Path,
    mcp: Option<TcpListener>,
    more: &[&str],
    look: impl FnOnce() -> T,
) -> (String, Option<T>) {
    let at = |name: &str| dir.join(name);
    fs::write(at("policy.yaml"), "agents: {scout: {uid: 1500}}\n").unwrap();
    // LISTEN_PID must be the PID of the broker, so the shell sets it and execs the broker.
    let script = match mcp {
        None => "exec \"$@\"",
        Some(_) => "exec 3<&0 && LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=mcp exec \"$@\"",
    };
    let mut child = Command::new("/bin/sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_ephyr-broker")])
        .args(["--mcp-listen", "off"])
        .arg("--policy")
        .arg(at("policy.yaml"))
        .arg("--socket")
        .arg(at("broker.sock"))
        .arg("--signer-socket")
        .arg(at("signer.sock"))
        .arg("--audit-log")
        .arg(at("audit.jsonl"))
        .args(more)
        .env_clear()
        .stdin(mcp.map_or(Stdio::null(), |socket| OwnedFd::from(socket).into()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = String::new();
    let mut look = Some(look);
    let mut looked = None;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        log.push_str(&line.unwrap());
        log.push('\n');
        if log.ends_with("; ready\n")
            && let Some(look) = look.take()
        {
            looked = Some(look());
            child.kill().unwrap();
        }
    }
    let ended = child.wait().unwrap();
    assert!(
        looked.is_some() || ended.code() == Some(78),
        "{ended}: {log}"
    );
    (log, looked)
}

#[test]
fn state_on_disk_is_refused_unless_allowed() {
    let dir = tempfile::tempdir().unwrap();
    // /proc is never a tmpfs.
    let (log, ready) = start(dir.path(), None, &["--state-dir", "/proc"], || ());
    assert!(
        ready.is_none() && log.contains("/proc is not on tmpfs"),
        "{log}"
    );
    assert!(
        !dir.path().join("broker.sock").exists(),
        "nothing was opened"
    );
    let own = dir.path().to_str().unwrap();
    let accepted = ["--allow-state-on-disk", "--state-dir", own];
    let (log, ready) = start(dir.path(), None, &accepted, || ());
    assert!(ready.is_some(), "{log}");
}

#[test]
fn systemd_socket_is_served_only_on_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().to_str().unwrap();
    let more = ["--allow-state-on-disk", "--state-dir", own];
    let serve = |address: [u8; 4]| {
        let socket = TcpListener::bind(SocketAddr::from((address, 0))).unwrap();
        let address = socket.local_addr().unwrap();
        start(dir.path(), Some(socket), &more, || {
            let endpoint = Endpoint::Tcp(address);
            endpoint
                .request("GET", "/v1/health", &[], b"")
                .unwrap()
                .status
        })
    };
    let (log, served) = serve([0, 0, 0, 0]);
    assert!(
        served.is_none() && log.contains("not a loopback one"),
        "{log}"
    );
    let (log, served) = serve([127, 0, 0, 1]);
    assert_eq!(served, Some(200), "{log}");
}
