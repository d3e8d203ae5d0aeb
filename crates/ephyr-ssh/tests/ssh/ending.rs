//! Timeouts, cancellations and dropped clients end the command's processes on the target.

use std::time::Duration;

use ephyr_ssh::{Cancel, Chunk, ExecOptions, ExecOutput, Exit, cancellation};
use tokio::sync::mpsc;

use crate::support::{
    Lab, SHELLS, Setup, Spec, alive, installed, login_by, run, until_dead, within,
};

/// Four processes: one that ignores SIGTERM, SIGHUP and SIGINT, one in the background with its output closed,
/// a plain child, and the shell itself. Prints their ids, then `ready`.
const STUBBORN: &str = "\
    (trap '' TERM HUP INT; echo ignores $BASHPID; while :; do sleep 1; done) & \
    sleep 600 >/dev/null 2>&1 & echo quiet $!; \
    (sleep 600; :) & echo child $!; \
    echo shell $$; sleep 0.3; echo ready; sleep 600; echo never";

/// Longest time until all processes are dead: 2 s of grace, and a margin for slow machines.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn timeout_ends_the_command_and_its_children() {
    let lab = Lab::start();
    let (ids, done) = watched(&lab, STUBBORN, within(Duration::from_secs(4))).await;
    assert_eq!(ids.len(), 4, "{done:?}");
    assert_eq!(done.exit, Exit::Timeout);
    assert!(done.end_reported, "{done:?}");
    assert!(!String::from_utf8_lossy(&done.stdout).contains("never"));
    assert!(until_dead(&ids, KILL_DEADLINE).await.is_empty());
}

#[tokio::test]
async fn cancellation_ends_the_command_and_its_children() {
    let lab = Lab::start();
    let (canceller, cancel) = cancellation();
    let options = ExecOptions {
        cancel,
        ..within(Duration::from_secs(60))
    };
    let (sender, chunks) = mpsc::channel(64);
    let options = ExecOptions {
        progress: Some(sender),
        ..options
    };
    let (done, ids) = tokio::join!(run(&lab, STUBBORN, options), async {
        let ids = ids_when_ready(chunks).await;
        assert!(ids.iter().all(|pid| alive(*pid)));
        canceller.cancel();
        ids
    });
    let done = done.unwrap();
    assert_eq!((&done.exit, done.asked), (&Exit::Cancelled, true));
    assert_eq!(ids.len(), 4, "{done:?}");
    assert!(until_dead(&ids, KILL_DEADLINE).await.is_empty());
}

#[tokio::test]
async fn command_that_ends_on_sigterm_is_reported_as_ended() {
    let lab = Lab::start();
    let (ids, done) = watched(
        &lab,
        "trap 'echo tidied; exit 0' TERM; echo shell $$; echo ready; while :; do sleep 0.1; done",
        within(Duration::from_secs(3)),
    )
    .await;
    assert_eq!(done.exit, Exit::Timeout);
    assert!(done.end_reported);
    // It had time to clean up, and the output of that was received.
    assert!(
        String::from_utf8_lossy(&done.stdout).ends_with("tidied\n"),
        "{done:?}"
    );
    assert!(until_dead(&ids, KILL_DEADLINE).await.is_empty());
}

#[tokio::test]
async fn dropped_client_ends_the_command() {
    let lab = Lab::start();
    let (sender, chunks) = mpsc::channel(64);
    let options = ExecOptions {
        progress: Some(sender),
        ..within(Duration::from_secs(60))
    };
    // `select!` drops the running command without notice to the target.
    let ids = tokio::select! {
        done = run(&lab, STUBBORN, options) => panic!("{done:?}"),
        ids = ids_when_ready(chunks) => ids,
    };
    assert_eq!(ids.len(), 4);
    assert!(until_dead(&ids, KILL_DEADLINE).await.is_empty());
}

#[tokio::test]
async fn command_without_the_watcher_survives_the_connection() {
    // Why the watcher exists: sshd neither forwards signals to a forced command nor ends it with the connection.
    let lab = Lab::start();
    let spec = Spec {
        bare: true,
        ..Spec::default()
    };
    let command = "exec </dev/null >/dev/null 2>&1; sleep 47";
    let login = login_by(&lab, command, &spec).await.unwrap();
    let marker = "sleep\u{0}47\u{0}";
    let done = login.exec(within(Duration::from_secs(1))).await.unwrap();
    assert_eq!(done.exit, Exit::Timeout);
    assert!(!done.end_reported);
    let left = processes_with(marker);
    assert!(!left.is_empty(), "sshd ended the command by itself");
    for pid in left {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[tokio::test]
async fn cancellation_before_the_start_runs_nothing() {
    let lab = Lab::start();
    let (canceller, cancel) = cancellation();
    canceller.cancel();
    let file = std::env::temp_dir().join(format!("ephyr-never-{}", lab.port));
    let options = ExecOptions {
        cancel,
        ..ExecOptions::default()
    };
    let done = run(&lab, &format!("touch {}", file.display()), options)
        .await
        .unwrap();
    assert_eq!((done.exit, done.asked), (Exit::Cancelled, false));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn timeout_ends_the_command_in_every_supported_shell() {
    if !rustix::process::geteuid().is_root() {
        return ephyr_testkit::skip("only root can change the login shell of the lab's account");
    }
    // In parallel: each takes as long as its timeout.
    let mut all = tokio::task::JoinSet::new();
    let (shells, missing) = installed(SHELLS);
    for shell in shells {
        all.spawn(async move {
            let lab = Lab::with(&Setup {
                shell,
                ..Setup::default()
            });
            let command = "sleep 600 & echo child $!; echo shell $$; echo ready; sleep 600";
            let (ids, done) = watched(&lab, command, within(Duration::from_secs(3))).await;
            assert_eq!((done.exit, ids.len()), (Exit::Timeout, 2), "{shell}");
            assert!(until_dead(&ids, KILL_DEADLINE).await.is_empty(), "{shell}");
        });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
    if let Some(missing) = missing {
        ephyr_testkit::skip(&missing);
    }
}

/// Runs the command to its end. Returns the process ids that it printed, after checking that all were alive.
async fn watched(lab: &Lab, command: &str, options: ExecOptions) -> (Vec<u32>, ExecOutput) {
    let (sender, chunks) = mpsc::channel(64);
    let options = ExecOptions {
        progress: Some(sender),
        cancel: Cancel::never(),
        ..options
    };
    let (done, ids) = tokio::join!(run(lab, command, options), async {
        let ids = ids_when_ready(chunks).await;
        for pid in &ids {
            assert!(alive(*pid), "process {pid} is not running");
        }
        ids
    });
    (ids, done.unwrap())
}

/// Returns the process ids printed before `ready`.
async fn ids_when_ready(mut chunks: mpsc::Receiver<Chunk>) -> Vec<u32> {
    let mut text = String::new();
    while let Some(chunk) = chunks.recv().await {
        text.push_str(&String::from_utf8_lossy(&chunk.data));
        if text.contains("ready") {
            break;
        }
    }
    text.lines()
        .filter_map(|line| line.split_once(' ')?.1.parse().ok())
        .collect()
}

/// Returns the processes with this command line.
fn processes_with(arguments: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line == arguments)
        })
        .collect()
}
