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
        runs every check; stages: fmt, layers, scripts, deny, build, clippy, unit, integration, doc,
        fuzz, sdk, nix, advisories, vm (property tests are among unit and integration).
        --quick: fmt, layers, deny, clippy, unit, and the integration tests of changed crates
  fuzz NAME...|--all [--time SECONDS] [--no-install]
        hunts for inputs that break a property, 60 s for each target unless it is said
  dist [--no-install]
        builds the programs as they are meant to be installed, under target/dist
  bench [GROUP...] [--json] [--no-install]
        builds for release and measures, each figure against a reference of the same run;
        groups: pure, tasks, signer, http, keys, ssh, memory
  vm [NAME...] [--list] [--keep] [--mutate] [--no-install]
        runs the scenarios of vm-tests/ on virtual machines; --mutate takes mechanisms out and
        sees their scenarios fail, --keep leaves disks, consoles and a network capture

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
            &["--list", "--keep", "--mutate", "--no-install", NAMES],
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
