//! Prepares system packages, the guests' image and the SDK clients while cargo compiles.
//!
//! This only saves time. Each stage prepares what it needs if this failed or did not run, so it never decides
//! whether a check runs.

use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Options;
use crate::packages;
use crate::run::{self, Show};
use crate::vm;

/// Timeout, longer than building an image takes on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// A thread that runs beside the first stages. Stages that use apt or its results must wait for it.
#[derive(Default)]
pub(crate) struct Prefetch(Option<JoinHandle<String>>);

impl Prefetch {
    /// Starts the thread, unless the run may not install anything.
    pub(crate) fn start(options: &Options) -> Self {
        if options.no_install {
            return Self::default();
        }
        Self(Some(thread::spawn(prepare)))
    }

    /// Waits for the thread and prints its result.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.0.take() {
            let result = thread.join();
            run::say(&result.unwrap_or_else(|_| "prefetch failed: the thread panicked".into()));
        }
    }
}

fn prepare() -> String {
    if let Err(why) = packages::for_all_stages() {
        return format!("prefetch failed: {why}");
    }
    let mut results = vec!["prefetched: system packages".to_owned()];
    let mut setup = Command::new(run::root().join("tests/sdk/setup.sh"));
    setup.arg(run::target_dir().join("sdk"));
    for (what, mut command) in [
        ("the SDK clients", setup),
        ("the guests' image", vm::image()),
    ] {
        results.push(match run::run(&mut command, Show::No, TIMEOUT) {
            Ok(done) if done.ok => what.to_owned(),
            Ok(done) => format!("{what}: failed: {}", done.last_line()),
            Err(why) => format!("{what}: failed: {why}"),
        });
    }
    results.join("; ")
}
