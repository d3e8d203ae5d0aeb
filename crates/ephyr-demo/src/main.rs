//! The main job, narrated: a throw-away appliance with a real `sshd` as its target, and an agent that
//! uses it over MCP. Each step says what should happen and is an error when something else does.

mod kept;
mod narrator;
mod play;
mod stage;

use std::process::ExitCode;

use ephyr_testkit::World;

use crate::narrator::{Narrator, warn};

const USAGE: &str = "usage: ephyr-demo [--keep]

  --keep  leave everything running in the background at the end, and say how to use and stop it";

/// What went otherwise than told, or could not be tried.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => finish(perform().map(drop)),
        ["--keep"] => kept::start(),
        // What `--keep` runs in the background.
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

/// The whole demo; the world is given back so that it can be kept.
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
            warn(&format!("\nNOT AS TOLD: {failure}"));
            ExitCode::FAILURE
        }
    }
}
