//! `ephyr sandbox` with the kernel's Landlock: each refused action also runs without the sandbox, where it succeeds.

#![cfg(test)]

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use ephyr_testkit::{Program, RunOutput, skip};
use tempfile::TempDir;

/// A directory that the sandbox denies by default, with a file and a program in it.
struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "content\n").unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }
}

fn ephyr(arguments: &[&str]) -> RunOutput {
    Program::new(env!("CARGO_BIN_EXE_ephyr")).run(arguments)
}

/// Runs a script in the sandbox with these options.
fn inside(options: &[&str], script: &str) -> RunOutput {
    let command = ["--", "/bin/sh", "-c", script];
    ephyr(&[&["sandbox"], options, &command[..]].concat())
}

fn outside(script: &str) -> i32 {
    let shell = Command::new("/bin/sh")
        .args(["-c", script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    shell.unwrap().code().unwrap()
}

#[test]
fn command_is_not_run_as_an_unexpected_user_id() {
    let own = fs::metadata("/proc/self").unwrap().uid();
    let as_uid = |uid: u32| inside(&["--uid", &uid.to_string()], "echo ran");
    let refused = as_uid(own + 1);
    assert_eq!((refused.code, refused.out.as_str()), (126, ""));
    let message = format!("runs as UID {own} and not as {}", own + 1);
    assert!(refused.err.contains(&message), "{}", refused.err);
    if ephyr(&["sandbox", "--", "/bin/true"]).code == 69 {
        return skip("Landlock");
    }
    assert_eq!(as_uid(own).out, "ran\n");
}

/// Asserts that the script succeeds without the sandbox and fails in it.
fn denies(options: &[&str], script: &str) {
    assert_eq!(outside(script), 0, "`{script}` fails without the sandbox");
    let ran = inside(options, script);
    assert_ne!(ran.code, 0, "`{script}` succeeds with {options:?}");
}

fn allows(options: &[&str], script: &str) {
    let ran = inside(options, script);
    assert_eq!(ran.code, 0, "`{script}` with {options:?}: {}", ran.err);
}

/// Returns the Landlock ABI that `ephyr sandbox --verbose` reports; 0 without Landlock.
fn abi() -> u32 {
    let ran = inside(&["--verbose"], "true");
    let (_, after) = ran.err.split_once("ABI ").unwrap_or_default();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Whether the kernel has at least this Landlock ABI; otherwise calls [`skip`].
fn kernel_has(least: u32) -> bool {
    let abi = abi();
    if abi < least {
        skip(&format!("Landlock ABI {least}; this kernel has {abi}"));
    }
    abi >= least
}

#[test]
fn ro_allows_reading_and_rw_also_writing() {
    if !kernel_has(3) {
        return;
    }
    let fixture = Fixture::new();
    let here = fixture.path();
    let read = format!("cat {here}/file");
    let list = format!("ls {here}");
    let run = format!("{here}/program");
    for script in [&read, &list, &run] {
        denies(&[], script);
        allows(&["--ro", here], script);
    }
    for script in [
        format!("echo x > {here}/file"),
        format!(": > {here}/file"),
        format!("touch {here}/new && rm {here}/new"),
        format!("mkdir {here}/dir && rmdir {here}/dir"),
        format!("ln -s file {here}/link && rm {here}/link"),
        format!("mv {here}/file {here}/other && mv {here}/other {here}/file"),
    ] {
        denies(&["--ro", here], &script);
        allows(&["--rw", here], &script);
    }
    // The path of a file does not allow its directory.
    let file = format!("{here}/file");
    allows(&["--ro", &file], &read);
    denies(&["--ro", &file], &list);
}

#[test]
fn only_system_paths_are_accessible_by_default() {
    if !kernel_has(1) {
        return;
    }
    allows(
        &[],
        "cat /etc/passwd; echo x > /dev/null; head -c 1 /dev/zero",
    );
    denies(&[], "cat /proc/self/status");
    denies(&[], "ls /");
    denies(&[], "ls /var");
    denies(&[], "ls /run");
    // Links in /proc do not lead out of the sandbox.
    denies(&["--ro", "/proc"], "ls /proc/self/root/var");
}

#[test]
fn child_processes_stay_in_the_sandbox() {
    if !kernel_has(1) {
        return;
    }
    let fixture = Fixture::new();
    let here = fixture.path();
    denies(&[], &format!("sh -c 'setsid cat {here}/file'"));
    // A nested sandbox cannot allow more than the outer one.
    let own = env!("CARGO_BIN_EXE_ephyr");
    let nested = format!("{own} sandbox --ro {here} -- cat {here}/file");
    denies(
        &["--ro", "/proc", "--ro", &format!("{here}/program")],
        &nested,
    );
    allows(&["--ro", "/proc", "--ro", here], &nested);
    let ran = inside(&["--ro", "/proc"], "grep NoNewPrivs /proc/self/status");
    assert_eq!(ran.out, "NoNewPrivs:\t1\n");
}

#[test]
fn tcp_connects_only_to_named_ports_and_never_listens() {
    if !kernel_has(4) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = python(&format!("socket.create_connection(('127.0.0.1', {port}))"));
    denies(&[], &connect);
    denies(&["--connect", "1"], &connect);
    allows(&["--connect", &port.to_string()], &connect);
    let bind = python("socket.socket().bind(('127.0.0.1', 0))");
    denies(&["--connect", &port.to_string()], &bind);
}

#[test]
fn outside_processes_get_no_signals_or_connections() {
    if !kernel_has(6) {
        return;
    }
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    denies(&[], &format!("kill -CONT {}", child.id()));
    child.kill().unwrap();
    child.wait().unwrap();

    let name = format!("ephyr-sandbox-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    denies(
        &[],
        &python(&format!(
            "socket.socket(socket.AF_UNIX).connect('\\0{name}')"
        )),
    );
}

#[test]
fn unix_socket_is_reachable_only_if_named() {
    let fixture = Fixture::new();
    let socket = Path::new(fixture.path()).join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let connect = python(&format!(
        "socket.socket(socket.AF_UNIX).connect('{}')",
        socket.display()
    ));
    for named in [socket.to_str().unwrap(), fixture.path()] {
        allows(&["--socket", named], &connect);
    }
    if kernel_has(9) {
        denies(&[], &connect);
        denies(&["--rw", fixture.path()], &connect);
    }
}

#[test]
fn command_replaces_the_process() {
    let ran = inside(&[], "printf %s \"$0\"; exit 7");
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (7, "/bin/sh", "")
    );
    let ran = ephyr(&["sandbox", "--", "/bin/echo", "--", "--ro", "a  b", "*"]);
    assert_eq!(ran.out, "-- --ro a  b *\n");
    let ran = ephyr(&["sandbox", "--", "echo", "found in PATH"]);
    assert_eq!(ran.out, "found in PATH\n");
    // The command inherits the environment.
    let program = Program::new(env!("CARGO_BIN_EXE_ephyr")).env("EPHYR_X", "here");
    let ran = program.run(&["sandbox", "--", "/bin/sh", "-c", "echo $EPHYR_X"]);
    assert_eq!(ran.out, "here\n");
}

#[test]
fn command_is_not_run_if_the_sandbox_cannot_be_set_up() {
    let fixture = Fixture::new();
    let here = fixture.path();
    let mark = format!("{here}/ran");
    let touch = ["--", "/usr/bin/touch", &mark];
    let refused = |options: &[&str], code: i32, cause: &str| {
        let ran = ephyr(&[&["sandbox", "--rw", here], options, &touch[..]].concat());
        assert_eq!(ran.code, code, "{options:?}: {}", ran.err);
        assert!(ran.err.contains(cause), "{options:?}: {}", ran.err);
        assert!(!Path::new(&mark).exists(), "{options:?}");
    };
    refused(&["--rw", "/no/such"], 66, "/no/such");
    refused(&["--socket", "/no/such"], 66, "/no/such");
    refused(&["--minimum-abi", "99"], 69, "99 is required");
    refused(&["--connect", "0"], 64, "--connect");
    refused(&["--ro"], 64, "--ro");
    let ran = ephyr(&["sandbox", "--ro", here]);
    assert_eq!(ran.code, 64, "{}", ran.err);

    // A missing --ro path is skipped with a note.
    let ran = ephyr(&[&["sandbox", "--rw", here, "--ro", "/no/such"], &touch[..]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("--ro /no/such"), "{}", ran.err);
    assert!(Path::new(&mark).exists());
}

#[test]
fn missing_command_is_127_and_unexecutable_command_126() {
    if !kernel_has(1) {
        return;
    }
    let ran = ephyr(&["sandbox", "--", "no-such-program-here"]);
    assert_eq!(ran.code, 127, "{}", ran.err);
    assert!(ran.err.contains("no-such-program-here"), "{}", ran.err);
    let fixture = Fixture::new();
    let program = format!("{}/program", fixture.path());
    let ran = ephyr(&["sandbox", "--", &program]);
    assert_eq!(ran.code, 126, "{}", ran.err);
    assert!(ran.err.contains("--ro DIRECTORY"), "{}", ran.err);
    let ran = ephyr(&["sandbox", "--ro", fixture.path(), "--", &program]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "ran\n"));
}

fn python(code: &str) -> String {
    format!("/usr/bin/python3 -I -c \"import socket; {code}\"")
}
