//! The commands of the README: `cargo xtask demo`, `test`, `fuzz`, `bench`, `dist` and `vm`.

mod ahead;
mod bench;
mod changed;
mod demo;
mod deny;
mod dist;
mod fuzz;
mod layers;
mod packages;
mod run;
mod skips;
mod tally;
mod test;
mod tools;
mod vm;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  demo [--keep] [--no-install]
        builds Ephyr and plays its main job against a real sshd, step by step
  test [--only STAGE | --quick] [--no-install]
        runs every check; stages: fmt, layers, deny, build, clippy, scripts, unit, integration, doc,
        fuzz, sdk, nix, advisories, vm (property tests are among unit and integration).
        --quick: fmt, layers, deny, clippy, unit, and the integration tests of changed crates
  fuzz NAME...|--all [--time SECONDS] [--no-install]
        hunts for inputs that break a property, 60 s for each target unless it is said
  dist [--no-install]
        builds the programs as they are meant to be installed, under target/dist
  bench [GROUP...] [--json] [--no-install]
        builds for release and measures, each figure against a reference of the same run;
        groups: pure, tasks, signer, http, keys, ssh, memory
  vm [NAME...|--core|--turn N] [--list] [--keep] [--mutate] [--prepare] [--no-install]
        runs the scenarios of vm-tests/ on virtual machines: all, the core ones alone, or these and
        the Nth third of the others, as the stage does (all of them with EPHYR_VM_ALL=1); --mutate
        takes mechanisms out and sees their scenarios fail, --keep leaves disks, consoles and a
        network capture, --prepare makes the machines' image and ends

--no-install: name missing system packages instead of installing them with apt";

/// Stands in a list of options for names without dashes.
const NAMES: &str = "NAME";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run_command(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            run::warn(&format!("xtask: {message}"));
            ExitCode::from(2)
        }
    }
}

/// Whether all went well; an error is one of use or of the machine.
fn run_command(words: &[&str]) -> Result<bool, String> {
    let Some((command, rest)) = words.split_first() else {
        return Err(USAGE.into());
    };
    match *command {
        "demo" => demo::run(&Options::parse(rest, &["--keep", "--no-install"])?),
        "test" => test::run(&Options::parse(
            rest,
            &["--only", "--quick", "--no-install"],
        )?),
        "fuzz" => fuzz::run(&Options::parse(
            rest,
            &["--all", "--time", "--no-install", NAMES],
        )?),
        "dist" => dist::run(&Options::parse(rest, &["--no-install"])?),
        "bench" => bench::run(&Options::parse(rest, &["--json", "--no-install", NAMES])?),
        "vm" => vm::run(&Options::parse(
            rest,
            &[
                "--list",
                "--keep",
                "--mutate",
                "--core",
                "--turn",
                "--prepare",
                "--no-install",
                NAMES,
            ],
        )?),
        "help" | "--help" | "-h" => {
            run::say(USAGE);
            Ok(true)
        }
        other => Err(format!("no command {other:?}\n{USAGE}")),
    }
}

/// What stands behind a command.
#[derive(Default)]
struct Options {
    keep: bool,
    no_install: bool,
    json: bool,
    list: bool,
    mutate: bool,
    core: bool,
    prepare: bool,
    turn: Option<String>,
    all: bool,
    quick: bool,
    seconds: Option<u64>,
    only: Option<String>,
    /// What stands there without dashes.
    names: Vec<String>,
}

impl Options {
    fn parse(words: &[&str], allowed: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is_name = !word.starts_with('-') && allowed.contains(&NAMES);
            if !is_name && !allowed.contains(word) {
                return Err(format!("{word:?} is not an option here\n{USAGE}"));
            }
            match *word {
                "--keep" => options.keep = true,
                "--no-install" => options.no_install = true,
                "--json" => options.json = true,
                "--list" => options.list = true,
                "--mutate" => options.mutate = true,
                "--core" => options.core = true,
                "--prepare" => options.prepare = true,
                "--turn" => {
                    let turn = words.next().ok_or("--turn needs a number, or `commit`")?;
                    options.turn = Some((*turn).to_owned());
                }
                "--all" => options.all = true,
                "--quick" => options.quick = true,
                "--time" => {
                    let seconds = words.next().and_then(|word| word.parse().ok());
                    let seconds = seconds.filter(|seconds| *seconds > 0);
                    options.seconds = Some(seconds.ok_or("--time needs a number of seconds")?);
                }
                name if is_name => options.names.push(name.to_owned()),
                _ => {
                    let stage = words.next().ok_or("--only needs the name of a stage")?;
                    options.only = Some((*stage).to_owned());
                }
            }
        }
        Ok(options)
    }
}
