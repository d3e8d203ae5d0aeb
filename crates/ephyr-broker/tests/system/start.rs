//! What the broker does not start with. It is refused before anyone is asked, so there is no signer here.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use ephyr_testkit::http::Endpoint;

/// Starts a broker in this directory, with a socket for MCP if it is given one, until it is ready or has
/// ended. Gives what it said, and what `look` made of it when it was ready.
fn start<T>(
    dir: &Path,
    mcp: Option<TcpListener>,
    more: &[&str],
    look: impl FnOnce() -> T,
) -> (String, Option<T>) {
    let at = |name: &str| dir.join(name);
    fs::write(at("policy.yaml"), "agents: {scout: {uid: 1500}}\n").unwrap();
    // The variables must name the process that reads them, so the shell becomes it.
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
        .arg("--data-dir")
        .arg(dir)
        .args(more)
        .env_clear()
        .stdin(mcp.map_or(Stdio::null(), |socket| OwnedFd::from(socket).into()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut look = Some(look);
    let mut seen = None;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        said.push_str(&line.unwrap());
        said.push('\n');
        if said.ends_with("; ready\n")
            && let Some(look) = look.take()
        {
            seen = Some(look());
            child.kill().unwrap();
        }
    }
    let ended = child.wait().unwrap();
    assert!(
        seen.is_some() || ended.code() == Some(78),
        "{ended}: {said}"
    );
    (said, seen)
}

#[test]
fn a_state_directory_that_is_no_memory_is_refused_unless_it_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    // Never a tmpfs, wherever the tests run.
    let (said, ready) = start(dir.path(), None, &["--state-dir", "/proc"], || ());
    assert!(
        ready.is_none() && said.contains("/proc is not on tmpfs"),
        "{said}"
    );
    assert!(
        !dir.path().join("broker.sock").exists(),
        "nothing was opened"
    );
    let own = dir.path().to_str().unwrap();
    let accepted = ["--allow-state-on-disk", "--state-dir", own];
    let (said, ready) = start(dir.path(), None, &accepted, || ());
    assert!(ready.is_some(), "{said}");
}

#[test]
fn a_socket_from_systemd_is_served_on_loopback_alone() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().to_str().unwrap();
    let more = ["--allow-state-on-disk", "--state-dir", own];
    let serve = |address: [u8; 4]| {
        let socket = TcpListener::bind(SocketAddr::from((address, 0))).unwrap();
        let address = socket.local_addr().unwrap();
        start(dir.path(), Some(socket), &more, || {
            let way = Endpoint::Tcp(address);
            way.request("GET", "/v1/health", &[], b"").unwrap().status
        })
    };
    let (said, served) = serve([0, 0, 0, 0]);
    assert!(
        served.is_none() && said.contains("not a loopback one"),
        "{said}"
    );
    let (said, served) = serve([127, 0, 0, 1]);
    assert_eq!(served, Some(200), "{said}");
}
