//! The narrated demo: a temporary appliance with a real `sshd` as its target, and an agent that uses it over
//! MCP. Each step states the expected result and fails on any other.

mod kept;
mod narrator;
mod play;
mod stage;

use std::process::ExitCode;

use ephyr_testkit::World;

use crate::narrator::{Narrator, warn};

const USAGE: &str = "usage: ephyr-demo [--keep]

  --keep  leave the appliance running in the background, and print how to use and stop it";

/// An unexpected result, or an error while a step ran.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => finish(perform().map(drop)),
        ["--keep"] => kept::start(),
        // The background process of `--keep`.
        [kept::ARGUMENT] => finish(kept::run()),
        ["--help" | "-h"] => {
            Narrator::new().say(USAGE);
            ExitCode::SUCCESS
        }
        _ => {
            warn(USAGE);
            ExitCode::from(64)
        }
    }
}

/// Runs the demo and returns the world, so that `--keep` can keep it.
fn perform() -> Result<World, Failure> {
    let mut narrator = Narrator::new();
    let mut world = stage::set(&mut narrator)?;
    play::play(&mut world, &mut narrator)?;
    narrator.end();
    Ok(world)
}

fn finish(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            warn(&format!("\nFAILED: {failure}"));
            ExitCode::FAILURE
        }
    }
}
