//! Commands on OpenSSH's sshd: output, exit, and that only the sealed command runs.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use ephyr_ssh::{Chunk, ExecOptions, Exit, KeyPair, Options, Stream};
use tokio::sync::mpsc;

use crate::support::{self, Lab, SHELLS, Setup, Spec, connect, installed, run, run_plainly};

#[tokio::test]
async fn command_returns_its_output_errors_and_exit_code() {
    let lab = Lab::start();
    let done = run_plainly(&lab, "echo out; echo err >&2; exit 7").await;
    assert_eq!(done.stdout, b"out\n");
    assert_eq!(done.stderr, b"err\n");
    assert_eq!(done.exit, Exit::Code(7));
    assert!(done.end_reported && !done.stdout_truncated && !done.stderr_truncated);
    let steps = done.timings;
    assert!(
        [steps.connect, steps.kex, steps.login, steps.exec]
            .iter()
            .all(|t| !t.is_zero())
    );
}

#[tokio::test]
async fn exit_codes_are_returned_unchanged() {
    let lab = Lab::start();
    for code in [0, 1, 126, 255] {
        let done = run_plainly(&lab, &format!("exit {code}")).await;
        assert_eq!(done.exit, Exit::Code(code));
    }
}

#[tokio::test]
async fn signal_that_ends_a_command_is_reported() {
    let lab = Lab::start();
    for name in ["KILL", "TERM", "SEGV"] {
        let done = run_plainly(&lab, &format!("kill -s {name} $$; sleep 60")).await;
        assert_eq!(done.exit, Exit::Signal(name.into()));
    }
}

#[tokio::test]
async fn output_is_not_decoded() {
    let lab = Lab::start();
    let done = run_plainly(&lab, "printf '\\000\\377\\303\\050\\r\\n\\033[2J'").await;
    assert_eq!(done.stdout, b"\x00\xff\xc3\x28\r\n\x1b[2J");
}

#[tokio::test]
async fn watcher_is_invisible_to_the_command() {
    let lab = Lab::start();
    let done = run_plainly(
        &lab,
        "jobs; wait; echo \"[$!]\"; cat; for f in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$f ] && echo $f; done; :",
    )
    .await;
    assert_eq!(String::from_utf8_lossy(&done.stdout), "[]\n0\n1\n2\n");
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    assert_eq!(done.exit, Exit::Code(0));
}

#[tokio::test]
async fn sealed_command_runs_whatever_is_requested() {
    let lab = Lab::start();
    // Permit and certificate name different commands: the target runs the certificate's.
    let permit = support::permit(lab.port, &lab.account, &lab.pin(), "echo asked for");
    let connection = connect(&permit, &Options::default()).await.unwrap();
    let keys = KeyPair::generate().unwrap();
    let sealed = "echo sealed; echo \"$SSH_ORIGINAL_COMMAND\"";
    let certificate = lab
        .ca
        .certify(keys.public_openssh(), sealed, &Spec::default());
    let identity = keys.identity(&certificate).unwrap();
    let done = connection.authenticate(identity).await.unwrap();
    let done = done.exec(ExecOptions::default()).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "sealed\necho asked for\n"
    );
}

#[tokio::test]
async fn output_beyond_the_limit_is_dropped_and_reported() {
    let lab = Lab::start();
    let options = ExecOptions {
        max_stdout: 1000,
        max_stderr: 10,
        ..ExecOptions::default()
    };
    let command = "head -c 3000000 /dev/zero; head -c 10 /dev/zero >&2";
    let done = run(&lab, command, options).await.unwrap();
    assert_eq!((done.stdout.len(), done.stdout_bytes), (1000, 3_000_000));
    assert_eq!((done.stderr.len(), done.stderr_bytes), (10, 10));
    assert!(done.stdout_truncated && !done.stderr_truncated);
    assert_eq!(done.exit, Exit::Code(0));
}

#[tokio::test]
async fn progress_is_sent_while_the_command_runs() {
    let lab = Lab::start();
    let (sender, mut chunks) = mpsc::channel(16);
    let options = ExecOptions {
        progress: Some(sender),
        ..ExecOptions::default()
    };
    let fifo = "p=$(mktemp -u); mkfifo $p; echo $p; read -r word <$p; rm $p; echo \"got $word\"";
    let (done, ()) = tokio::join!(run(&lab, fifo, options), async {
        // The command continues only after its first output was received here.
        let Chunk { stream, data, .. } = chunks.recv().await.unwrap();
        assert_eq!(stream, Stream::Stdout);
        let path = std::str::from_utf8(&data).unwrap().trim().to_owned();
        tokio::task::spawn_blocking(move || std::fs::write(path, "this\n"))
            .await
            .unwrap()
            .unwrap();
    });
    let out = String::from_utf8(done.unwrap().stdout).unwrap();
    assert!(out.ends_with("got this\n"), "{out}");
}

#[tokio::test]
async fn receiver_that_never_reads_does_not_delay_the_command() {
    let lab = Lab::start();
    let (sender, _chunks) = mpsc::channel(1);
    let options = ExecOptions {
        progress: Some(sender),
        ..ExecOptions::default()
    };
    let done = run(&lab, "head -c 5000000 /dev/zero", options)
        .await
        .unwrap();
    assert_eq!(done.stdout_bytes, 5_000_000);
    assert_eq!(done.exit, Exit::Code(0));
}

#[tokio::test]
async fn background_processes_are_not_waited_for() {
    let lab = Lab::start();
    let done = run_plainly(&lab, "sleep 25 & echo $!").await;
    assert_eq!(done.exit, Exit::Code(0));
    let left: u32 = String::from_utf8(done.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(support::alive(left), "the background process was ended");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(left.cast_signed()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[tokio::test]
async fn concurrent_commands_each_get_their_own_output() {
    let lab = Lab::start();
    let lab = std::sync::Arc::new(lab);
    let mut all = tokio::task::JoinSet::new();
    for n in 0..16 {
        let lab = std::sync::Arc::clone(&lab);
        all.spawn(async move { (n, run_plainly(&lab, &format!("echo {n}; exit {n}")).await) });
    }
    let mut finished = 0;
    while let Some(one) = all.join_next().await {
        let (n, done) = one.unwrap();
        assert_eq!(done.stdout, format!("{n}\n").into_bytes());
        assert_eq!(done.exit, Exit::Code(n));
        finished += 1;
    }
    assert_eq!(finished, 16);
}

#[tokio::test]
async fn every_supported_shell_runs_commands() {
    if !rustix::process::geteuid().is_root() {
        return ephyr_testkit::skip("only root can change the login shell of the lab's account");
    }
    // busybox is a shell when called `ash`.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let ash = dir.path().join("ash");
    std::os::unix::fs::symlink("/usr/bin/busybox", &ash).unwrap();
    let ash: &'static str = ash.to_str().unwrap().to_owned().leak();
    let (shells, missing) = installed(SHELLS.into_iter().chain([ash]));
    for shell in shells {
        let lab = Lab::with(&Setup {
            shell,
            ..Setup::default()
        });
        let done = run_plainly(&lab, "wait; echo here; cat; echo there 1<&2; exit 3").await;
        assert_eq!(done.stdout, b"here\n", "{shell}: {done:?}");
        assert_eq!(done.stderr, b"there\n", "{shell}: {done:?}");
        assert_eq!(done.exit, Exit::Code(3), "{shell}");
    }
    if let Some(missing) = missing {
        ephyr_testkit::skip(&missing);
    }
}

#[tokio::test]
async fn exit_of_an_unsupported_login_shell_is_unproven() {
    if !rustix::process::geteuid().is_root() {
        return ephyr_testkit::skip("only root can change the login shell of the lab's account");
    }
    let refused = [
        "/usr/bin/fish",
        "/bin/tcsh",
        "/usr/sbin/nologin",
        "/bin/true",
        "/bin/echo",
    ];
    let (shells, missing) = installed(refused);
    for shell in shells {
        let lab = Lab::with(&Setup {
            shell,
            ..Setup::default()
        });
        let ran = std::env::temp_dir().join(format!("ephyr-unproven-{}", lab.port));
        let command = format!("touch {0}; chmod 600 {0}", ran.display());
        let done = run_plainly(&lab, &command).await;
        assert!(matches!(done.exit, Exit::Unproven(_)), "{shell}: {done:?}");
        assert!(done.asked && done.end_reported, "{shell}");
        assert!(!ran.exists(), "{shell} ran the command");
        if shell.ends_with("nologin") {
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(said.contains("not available"), "{done:?}");
        }
    }
    if let Some(missing) = missing {
        ephyr_testkit::skip(&missing);
    }
}

#[tokio::test]
async fn exit_of_sshds_own_force_command_is_unproven() {
    let lab = Lab::with(&Setup {
        config: "ForceCommand /bin/echo hi",
        ..Setup::default()
    });
    let done = run_plainly(&lab, "true").await;
    assert_eq!(done.exit, Exit::Unproven("exit status 0".into()));
    assert_eq!(done.stdout, b"hi\n");
}
