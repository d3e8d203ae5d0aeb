//! Keeps the nftables table `inet ephyr` as the policy defines it, so that packets of agents are rejected.
//!
//! ```text
//! args      apply, check, validate or watch
//! watch     one poll loop: changes of nf_tables, signals, timers
//!   guard     policy + kernel -> the table in force, or its differences
//!     listing   the listing of a table by `nft`, comparable
//!     nft       the `nft` program
//!   status    the status file
//! ```
//!
//! The expected listing comes from the kernel: the compiled ruleset is loaded a second time under another name, and both
//! listings are compared. This code therefore does not depend on how `nft` prints a rule or how the kernel stores it.

mod args;
mod confine;
mod guard;
mod listing;
mod monitor;
mod nft;
mod source;
mod status;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;
use ephyr_sandbox::{Confinement, exit, log};

use crate::args::{Args, Command};
use crate::guard::Guard;
use crate::nft::Nft;
use crate::source::PolicySource;

/// Exit code of `check` if the table differs from the policy's, as in diff(1).
const DIFFERS: u8 = 1;

/// Runs the command given on the command line.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // clap also returns the output of `--help` as an error.
            let _ = error.print();
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            return ExitCode::from(code);
        }
    };
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            log::error(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, guard::Error> {
    let guard = Guard::new(Nft::find(args.nft.as_deref())?);
    let source = PolicySource::new(&args.policy, args.mcp_listen);
    match &args.command {
        Command::Apply => {
            let table = source.load()?;
            guard.replace(&table, &guard.counts())?;
            let agents = table.agents().count();
            log::info(&format!("the table is in force: {agents} agents"));
        }
        Command::Check => {
            let differences = guard.differences(&source.load()?)?;
            for difference in &differences {
                log::error(&difference.to_string());
            }
            if !differences.is_empty() {
                return Ok(ExitCode::from(DIFFERS));
            }
            log::info("the table in force matches the policy");
        }
        Command::Validate => {
            let policy = source.policy()?;
            Confinement::new(policy.sandbox().minimum_abi).apply()?;
        }
        Command::Watch { status } => watch::run(guard, &source, status)?,
    }
    Ok(ExitCode::SUCCESS)
}
