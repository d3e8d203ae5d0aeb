//! Fetches and builds while cargo compiles: system packages, the guests' image, the SDK clients.
//!
//! This only saves time. Each stage makes what it needs if this failed or did not run, so it never decides whether a
//! check runs.

use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Options;
use crate::packages;
use crate::run::{self, Show};
use crate::vm;

/// Longer than building an image takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(1800);

/// Work that runs beside the first stages. Stages that use apt or its results must wait for it.
#[derive(Default)]
pub(crate) struct Ahead(Option<JoinHandle<String>>);

impl Ahead {
    /// Starts the work, unless the run may not install anything.
    pub(crate) fn begin(options: &Options) -> Self {
        if options.no_install {
            return Self::default();
        }
        Self(Some(thread::spawn(make)))
    }

    /// Waits for the work and prints the result.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.0.take() {
            let told = thread.join();
            run::say(
                &told.unwrap_or_else(|_| "prepared ahead: nothing, the thread panicked".into()),
            );
        }
    }
}

fn make() -> String {
    if let Err(why) = packages::for_all_stages() {
        return format!("prepared ahead: nothing: {why}");
    }
    let mut told = vec!["prepared ahead: system packages".to_owned()];
    let mut setup = Command::new(run::root().join("tests/sdk/setup.sh"));
    setup.arg(run::target_dir().join("sdk"));
    for (what, mut command) in [
        ("the SDK clients", setup),
        ("the guests' image", vm::image()),
    ] {
        told.push(match run::run(&mut command, Show::No, LIMIT) {
            Ok(done) if done.ok => what.to_owned(),
            Ok(done) => format!("{what}: failed: {}", done.last_line()),
            Err(why) => format!("{what}: failed: {why}"),
        });
    }
    told.join("; ")
}
