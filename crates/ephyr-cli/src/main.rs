//! `ephyr`: the command for agents, operators and auditors. It makes no decisions: the broker decides,
//! the libraries verify, and this program prints the result.

mod args;
mod audit;
mod bridge;
mod broker;
mod ca;
mod directory;
mod endpoint;
mod exec;
mod failure;
mod fields;
mod holder;
mod host_key;
mod inspect;
mod keys;
mod lists;
mod nft;
mod output;
mod policy;
mod policy_file;
mod sandbox;
mod target;
mod tasks;
mod units;

use std::process::ExitCode;

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let args = match Args::read() {
        Ok(args) => args,
        Err(error) => return report_usage(&error),
    };
    let output = Output::new(args.json);
    match run(&args, &output) {
        Ok(code) => code,
        Err(failure) => output.fail(&failure),
    }
}

fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let broker = || endpoint::Endpoint::choose(&args.connection, &endpoint::Environment::read());
    match &args.command {
        Command::Exec(exec) => exec::run(&broker()?, exec, output),
        Command::Targets => lists::targets(&broker()?, output),
        Command::Certs => lists::certs(&broker()?, output),
        Command::Whoami => lists::whoami(&broker()?, output),
        Command::Health => lists::health(&broker()?, output),
        Command::Task(task) => tasks::run(&broker()?, task, output),
        Command::Mcp { bind } => bridge::run(broker()?, *bind),
        Command::Inspect(inspect) => inspect::run(inspect, output),
        Command::Policy(policy) => policy::run(policy, output),
        Command::Nft(nft) => nft::run(nft, output),
        Command::Target(target) => target::run(target, output),
        Command::Audit(audit) => audit::run(audit, output),
        Command::Ca(ca) => ca::run(ca, output),
        Command::HostKey(host_key) => host_key::run(host_key, output),
        Command::Keys(keys) => keys::run(keys, output),
        Command::Units(units) => units::run(units, output),
        Command::Sandbox(sandbox) => Err(sandbox::run(sandbox)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut args::command_line(), "ephyr", &mut script);
            output.raw(&script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints a usage error, or the requested help.
fn report_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help and version go to standard output; a closed pipe is not an error.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let json = std::env::args_os()
        .take_while(|word| word != "--")
        .any(|word| word == "--json");
    if json {
        return Output::new(true).fail(&Failure::usage(summary(error)));
    }
    let _ = error.print();
    ExitCode::from(failure::USAGE)
}

/// Returns the first paragraph of the error text as one line.
fn summary(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; `--help` lists them".to_owned();
    }
    let text = error.render().to_string();
    let first: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    first.join(" ").trim_start_matches("error: ").to_owned()
}
