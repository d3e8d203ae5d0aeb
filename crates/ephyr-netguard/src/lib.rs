//! Keeps the nftables table `inet ephyr` as the policy says: no packet leaves in an agent's name.
//!
//! ```text
//! args      apply, check or watch
//! watch     one poll loop: changes of nf_tables, signals, time
//!   guard     policy + kernel -> the table in force, or how it differs
//!     listing   what `nft` lists of a table, comparable
//!     nft       the `nft` program
//!   status    what the broker and people read of it
//! ```
//!
//! What a table must look like is asked of the kernel itself: the compiled ruleset is loaded once more,
//! under another name, and both listings are compared. So neither how `nft` words a rule nor what
//! the kernel makes of it is guessed here.

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

/// Exit code of `check` if the table is not as the policy says, as of diff(1).
const DIFFERS: u8 = 1;

/// Runs what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Also what `--help` prints, which is no error.
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
            log::info("the table in force is the policy's");
        }
        Command::Validate => {
            let policy = source.policy()?;
            Confinement::new(policy.sandbox().minimum_abi).apply()?;
        }
        Command::Watch { status } => watch::run(guard, &source, status)?,
    }
    Ok(ExitCode::SUCCESS)
}
