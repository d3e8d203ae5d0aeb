//! The key holder: turns intents into certificates by its own policy. Synchronous, small, never on a
//! network.
//!
//! The signer does not trust the broker's judgement. A sign request says who wants to do what; every
//! field of the certificate but the public key is derived here, from the policy that this process read
//! itself ([`derive()`](derive::derive)). What is signed stands in a hash-chained journal before the
//! reply leaves.
//!
//! ```text
//! server    one poll loop: connections, deadlines, signals
//!   service   one request to one reply: rate limits, journal entries, signing
//!     derive    pure: policy + intent + time + serial -> certificate fields or a refusal
//!     journal   what was signed and refused, and the heads of the audit logs
//!     key       the CA key
//! policy    reads the policy from a file that only trusted users can replace
//! start     everything that happens once, before the sandbox closes
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

/// Runs the signer until it is told to stop.
#[must_use]
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    abort_on_panic();
    let environment = |name: &str| std::env::var_os(name);
    let options = match args::parse(arguments, &environment) {
        Ok(args::Parsed::Run(options)) => options,
        Ok(args::Parsed::Check {
            policy,
            broker_user,
        }) => return ended(start::check(&policy, &broker_user)),
        Ok(args::Parsed::Print(text)) => {
            let _ = writeln!(std::io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            log::error(&format!("{error}; `ephyr-signer --help` lists the options"));
            return ExitCode::from(exit::USAGE);
        }
    };
    ended(start::prepare(&options).and_then(server::Server::run))
}

fn ended(outcome: Result<(), StartError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// A signer that panicked may be in an invalid state and must not sign: it aborts, and the service manager starts it
/// again.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        log::error(&format!("panic, aborting: {panic}"));
        std::process::abort();
    }));
}
