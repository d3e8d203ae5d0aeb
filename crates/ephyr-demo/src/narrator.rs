//! The voice of the demo.

use std::io::Write as _;
use std::time::Instant;

/// Counts the steps and prints what is told.
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

    /// Begins a step.
    pub(crate) fn step(&mut self, title: &str) {
        self.steps += 1;
        self.say(&format!("\n{}. {title}", self.steps));
    }

    /// Says something within a step.
    pub(crate) fn tell(&self, text: &str) {
        for line in text.lines() {
            self.say(&format!("   {line}"));
        }
    }

    /// Shows what a program said.
    pub(crate) fn show(&self, text: &str) {
        for line in text.lines() {
            self.say(&format!("   | {line}"));
        }
    }

    /// The last word.
    pub(crate) fn end(&self) {
        let seconds = self.start.elapsed().as_secs_f32();
        self.say(&format!(
            "\nAll {} steps went as told, in {seconds:.1} s.",
            self.steps
        ));
    }

    #[expect(clippy::unused_self, reason = "only who has the narrator speaks")]
    pub(crate) fn say(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody may be listening any more; the exit status still tells.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// Says something about trouble.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
