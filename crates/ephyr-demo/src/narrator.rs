//! The demo's output on the terminal.

use std::io::Write as _;
use std::time::Instant;

/// Counts and prints the steps.
pub(crate) struct Narrator {
    steps: u32,
    start: Instant,
}

impl Narrator {
    pub(crate) fn new() -> Self {
        Self {
            steps: 0,
            start: Instant::now(),
        }
    }

    /// Starts a step.
    pub(crate) fn step(&mut self, title: &str) {
        self.steps += 1;
        self.say(&format!("\n{}. {title}", self.steps));
    }

    /// Prints a text within a step.
    pub(crate) fn tell(&self, text: &str) {
        for line in text.lines() {
            self.say(&format!("   {line}"));
        }
    }

    /// Prints the output of a program.
    pub(crate) fn show(&self, text: &str) {
        for line in text.lines() {
            self.say(&format!("   | {line}"));
        }
    }

    /// Prints the summary.
    pub(crate) fn end(&self) {
        let seconds = self.start.elapsed().as_secs_f32();
        self.say(&format!(
            "\nAll {} steps succeeded in {seconds:.1} s.",
            self.steps
        ));
    }

    #[expect(clippy::unused_self, reason = "output goes through the narrator only")]
    pub(crate) fn say(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Standard output may be closed; the exit status is still correct.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// Prints an error to standard error.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
