//! `ephyr exec`: output is exact, is printed while the command runs, and is kept when the connection breaks.

use std::io::{BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};

use ephyr_testkit::{Value, World, skip};

/// Returns the command `ephyr exec` on the target `web`, as the agent `builder`.
fn exec(world: &World, flags: &[&str], command: &str) -> Command {
    let mut ephyr = world.command("bin/ephyr", "builder").unwrap();
    ephyr.env("EPHYR_SOCKET", world.socket());
    ephyr.args(["exec", "web", "--role", "read"]).args(flags);
    ephyr.args(["--", command]).stdin(Stdio::null());
    ephyr
}

fn ran(world: &World, flags: &[&str], command: &str) -> (i32, Vec<u8>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = exec(world, flags, command).output().unwrap();
    let errors = String::from_utf8_lossy(&stderr).into_owned();
    (status.code().unwrap(), stdout, errors)
}

/// Starts `ephyr exec`; its output can be read while it runs.
fn running(world: &World, command: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut ephyr = exec(world, &["--timeout", "60"], command);
    ephyr.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ephyr.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn line(output: &mut impl std::io::BufRead) -> String {
    let mut text = String::new();
    output.read_line(&mut text).unwrap();
    text.trim_end().to_owned()
}

fn signal(name: &str, pid: &str) {
    let sent = Command::new("kill").args(["-s", name, pid]).status();
    assert!(sent.unwrap().success(), "{name} to {pid}");
}

#[test]
fn exec_prints_every_byte_or_exits_with_79() {
    let world = World::start().unwrap();
    // The target is this host, so the output can be compared. A program is not UTF-8.
    let archive = "tar c -C /usr/bin env";
    let here = Command::new("sh").args(["-c", archive]).output().unwrap();
    assert!(String::from_utf8(here.stdout.clone()).is_err());
    let (code, output, errors) = ran(&world, &[], archive);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(output == here.stdout, "{} bytes", output.len());

    // Output that exceeds the broker's limit.
    let long = "head -c 3000000 /dev/zero; exit 3";
    let (code, output, errors) = ran(&world, &[], long);
    assert_eq!(code, 79, "{errors}");
    assert!(
        errors.contains("3000000 bytes were written") && errors.contains("status 3"),
        "{errors}"
    );
    assert!(output.len() >= 1 << 20, "{}", output.len());
    let (code, _, errors) = ran(&world, &["--lossy"], long);
    assert!(code == 3 && errors.contains("incomplete"), "{errors}");

    // JSON can represent only text.
    let (code, output, errors) = ran(&world, &["--json"], "printf 'a\\377b'");
    assert_eq!(code, 79, "{errors}");
    let value: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(
        (&value["stdout"], &value["stdout_lossy"]),
        (&"a\u{fffd}b".into(), &true.into())
    );
    assert_eq!(value["stdout_bytes"], 3);
    let error: Value = errors.parse().unwrap();
    assert_eq!(error["code"], "output_incomplete");
    let (code, _, _) = ran(&world, &["--json", "--lossy"], "printf 'a\\377b'");
    assert_eq!(code, 0);
}

#[test]
fn exec_prints_output_while_the_command_runs() {
    let world = World::start().unwrap();
    // The command waits for the signal, which is sent only after its first line was read.
    let waits = "trap 'go=1' USR1; echo $$; printf 'no line' >&2; until [ $go ]; do sleep 0.05; done; echo end; exit 5";
    let (mut child, mut output) = running(&world, waits);
    let pid = line(&mut output);
    signal("USR1", &pid);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "end\n", "nothing is printed twice");
    let ended = child.wait_with_stderr();
    assert_eq!(ended, (5, "no line".to_owned()));
}

#[test]
fn output_before_a_broken_connection_is_kept_and_marked() {
    let world = World::start().unwrap();
    // The shell's parent is sshd's process for the connection.
    let (mut child, mut output) = running(&world, "echo begun; echo $PPID; sleep 600");
    assert_eq!(line(&mut output), "begun");
    let sshd = line(&mut output);
    signal("KILL", &sshd);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "nothing is printed twice");
    let (code, errors) = child.wait_with_stderr();
    assert!(code == 74 && errors.contains("may have run"), "{errors}");
}

#[test]
fn login_shell_that_runs_nothing_is_reported() {
    let world = World::builder()
        .login_shell("/usr/sbin/nologin")
        .start()
        .unwrap();
    if !world.accounts().have_role_accounts() {
        return skip("another login shell for a role account needs root");
    }
    let (code, output, errors) = ran(&world, &[], "echo ran");
    assert_eq!(code, 74, "{errors}");
    assert!(
        errors.contains("without proof that the command started"),
        "{errors}"
    );
    let output = String::from_utf8_lossy(&output);
    assert!(output.contains("not available"), "{output}");
    let (_, _, errors) = ran(&world, &["--json"], "echo ran");
    let error: Value = errors.parse().unwrap();
    assert_eq!(error["code"], "command_not_begun");
    assert_eq!(error["details"]["started"], true);
}

trait WaitWithStderr {
    /// Waits for a child and returns its exit status and standard error.
    fn wait_with_stderr(&mut self) -> (i32, String);
}

impl WaitWithStderr for Child {
    fn wait_with_stderr(&mut self) -> (i32, String) {
        let mut errors = String::new();
        let mut pipe = self.stderr.take().unwrap();
        pipe.read_to_string(&mut errors).unwrap();
        (self.wait().unwrap().code().unwrap(), errors)
    }
}
