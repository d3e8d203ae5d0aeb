//! A command that is told to end does end, on the machine where it runs.

use std::time::Duration;

use ephyr_ssh::{Cancel, Chunk, ExecOptions, ExecOutput, Exit, cancellation};
use tokio::sync::mpsc;

use crate::support::{
    Lab, SHELLS, Setup, Spec, alive, installed, login_by, run, until_dead, within,
};

/// Four processes, of which some want to live on: one that ignores what asks it to end, one in the
/// background with its output closed, and the shell itself. The command prints their ids, then `ready`.
const STUBBORN: &str = "\
    (trap '' TERM HUP INT; echo ignores $BASHPID; while :; do sleep 1; done) & \
    sleep 600 >/dev/null 2>&1 & echo quiet $!; \
    (sleep 600; :) & echo child $!; \
    echo shell $$; sleep 0.3; echo ready; sleep 600; echo never";

/// Longest time from the order to end until everything is dead: 2 s of grace and some for a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_timeout_ends_the_command_and_its_children() {
    let lab = Lab::start();
    let (ids, done) = watched(&lab, STUBBORN, within(Duration::from_secs(4))).await;
    assert_eq!(ids.len(), 4, "{done:?}");
    assert_eq!(done.exit, Exit::Timeout);
    assert!(done.end_reported, "{done:?}");
    assert!(!String::from_utf8_lossy(&done.stdout).contains("never"));
    assert!(until_dead(&ids, PATIENCE).await.is_empty());
}

#[tokio::test]
async fn a_cancelled_command_ends_with_its_children() {
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
    assert!(until_dead(&ids, PATIENCE).await.is_empty());
}

#[tokio::test]
async fn a_command_that_ends_at_the_first_word_is_reported_as_ended() {
    let lab = Lab::start();
    let (ids, done) = watched(
        &lab,
        "trap 'echo tidied; exit 0' TERM; echo shell $$; echo ready; while :; do sleep 0.1; done",
        within(Duration::from_secs(3)),
    )
    .await;
    assert_eq!(done.exit, Exit::Timeout);
    assert!(done.end_reported);
    // It had the time to tidy up, and what it said then was heard.
    assert!(
        String::from_utf8_lossy(&done.stdout).ends_with("tidied\n"),
        "{done:?}"
    );
    assert!(until_dead(&ids, PATIENCE).await.is_empty());
}

#[tokio::test]
async fn a_broker_that_goes_away_takes_the_command_with_it() {
    let lab = Lab::start();
    let (sender, chunks) = mpsc::channel(64);
    let options = ExecOptions {
        progress: Some(sender),
        ..within(Duration::from_secs(60))
    };
    // Dropped in the middle, without a word to the target.
    let ids = tokio::select! {
        done = run(&lab, STUBBORN, options) => panic!("{done:?}"),
        ids = ids_when_ready(chunks) => ids,
    };
    assert_eq!(ids.len(), 4);
    assert!(until_dead(&ids, PATIENCE).await.is_empty());
}

#[tokio::test]
async fn without_the_watcher_the_command_would_live_on() {
    // The reason for it: sshd passes no signals to a sealed command and lets it be when the connection ends.
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
    let left = children_of_lab(marker);
    assert!(!left.is_empty(), "sshd ended a sealed command by itself");
    for pid in left {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[tokio::test]
async fn a_cancellation_before_the_start_starts_nothing() {
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
async fn a_timeout_ends_commands_in_other_shells_as_well() {
    if !rustix::process::geteuid().is_root() {
        return ephyr_testkit::skip("only root gives the lab's account another shell");
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
            assert!(until_dead(&ids, PATIENCE).await.is_empty(), "{shell}");
        });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
    if let Some(missing) = missing {
        ephyr_testkit::skip(&missing);
    }
}

/// Runs the command to its end; the process ids that it printed, which were all alive when it was ready.
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
            assert!(alive(*pid), "process {pid} does not run");
        }
        ids
    });
    (ids, done.unwrap())
}

/// The process ids in the output so far, when it says `ready`.
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

/// Processes with these arguments.
fn children_of_lab(arguments: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line == arguments)
        })
        .collect()
}
