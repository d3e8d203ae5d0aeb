//! The signer holds the CA key and turns intents into certificates by its own policy. Synchronous, no network.
//!
//! The signer does not trust the broker's decisions. A sign request states an intent; every field of the
//! certificate except the public key is derived here, from the policy that this process read itself
//! ([`derive()`](derive::derive)). Every signature is recorded in a hash-chained journal before the reply is sent.
//!
//! ```text
//! server    one poll loop: connections, deadlines, signals
//!   service   one request to one reply: rate limits, journal entries, signing
//!     derive    pure: policy + intent + time + serial -> certificate fields or a refusal
//!     journal   signatures, refusals and the heads of the audit logs
//!     key       the CA key
//! policy    reads the policy from a file that only trusted users can replace
//! start     startup, up to the point where the sandbox is applied
//! ```

pub mod args;
pub mod derive;
pub mod entry;
mod error;
pub mod journal;
pub mod key;
pub mod limits;
mod policy;
mod refusals;
mod rotation;
mod server;
pub mod service;
mod spare;
mod start;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use ephyr_sandbox::{exit, log};

pub use error::StartError;

/// Runs the signer until SIGTERM or SIGINT.
#[must_use]
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    abort_on_panic();
    let environment = |name: &str| std::env::var_os(name);
    let options = match args::parse(arguments, &environment) {
        Ok(args::Parsed::Run(options)) => options,
        Ok(args::Parsed::Check {
            policy,
            broker_user,
        }) => return exit_code(start::check(&policy, &broker_user)),
        Ok(args::Parsed::Print(text)) => {
            let _ = writeln!(std::io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            log::error(&format!("{error}; `ephyr-signer --help` lists the options"));
            return ExitCode::from(exit::USAGE);
        }
    };
    exit_code(start::prepare(&options).and_then(server::Server::run))
}

fn exit_code(result: Result<(), StartError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Aborts the process on a panic: its state may be invalid, so it must not sign. The service manager restarts it.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        log::error(&format!("panic, aborting: {panic}"));
        std::process::abort();
    }));
}
