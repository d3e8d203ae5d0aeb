//! The workspace's commands: `cargo xtask demo`, `test`, `fuzz`, `bench`, `dist` and `vm`.

mod bench;
mod changed;
mod demo;
mod deny;
mod dist;
mod fuzz;
mod layers;
mod packages;
mod prefetch;
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
        builds Ephyr and runs the narrated demo against a real sshd
  test [--only STAGE | --quick] [--no-install]
        runs every check; stages: fmt, layers, deny, build, clippy, scripts, unit, integration, doc,
        fuzz, sdk, nix, advisories, vm (property tests are among unit and integration).
        --quick: fmt, layers, deny, clippy, unit, and the integration tests of changed crates
  fuzz NAME...|--all [--time SECONDS] [--no-install]
        fuzzes the targets, 60 s each by default
  dist [--no-install]
        builds the programs for installation, under target/dist
  bench [GROUP...] [--json] [--no-install]
        builds for release and measures each figure against a reference from the same run;
        groups: pure, tasks, signer, http, keys, ssh, memory
  vm [NAME...|--core|--turn N] [--list] [--keep] [--mutate] [--prepare] [--no-install]
        runs the scenarios of vm-tests/ on virtual machines: all, only the core ones, or these and
        the Nth third of the others, as the stage does (all of them with EPHYR_VM_ALL=1); --mutate
        removes mechanisms and expects their scenarios to fail, --keep leaves disks, consoles and a
        network capture, --prepare builds the machines' image and exits

--no-install: report missing system packages instead of installing them with apt";

/// In a list of allowed options: positional arguments.
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

/// Runs a command and returns whether everything passed. Errors are usage errors or problems of the machine.
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
        other => Err(format!("unknown command {other:?}\n{USAGE}")),
    }
}

/// The options of a command.
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
    /// Positional arguments.
    names: Vec<String>,
}

impl Options {
    fn parse(words: &[&str], allowed: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is_name = !word.starts_with('-') && allowed.contains(&NAMES);
            if !is_name && !allowed.contains(word) {
                return Err(format!("unexpected argument {word:?}\n{USAGE}"));
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
