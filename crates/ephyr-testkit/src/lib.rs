//! A complete Ephyr installation in a temporary directory, for tests, the demo and benchmarks: signer
//! and broker run as two users, each target is a real `sshd`, each agent connects with its own user id.
//!
//! As root, a [`World`] runs in a private mount namespace where `/etc/passwd`, `/etc/group` and
//! `/etc/shadow` are copies with the accounts of the world added; the machine stays unchanged. As an
//! ordinary user, all processes and role accounts are that user; tests that need a second identity
//! call [`skip`].
//!
//! ```no_run
//! use ephyr_api::ExecArguments;
//! use ephyr_testkit::World;
//! # fn main() -> ephyr_testkit::Result<()> {
//! let world = World::start()?;
//! let mut scout = world.mcp_with_key("scout")?;
//! let done = scout.invoke(&ExecArguments::new("web", "read", "id -un"))?;
//! assert_eq!(done.exit_code, 0);
//! # Ok(()) }
//! ```

use std::fs::File;
use std::io::Write as _;

mod accounts;
mod daemon;
mod error;
pub mod http;
mod keeper;
mod keys;
mod mcp;
mod policy;
mod program;
mod sshd;
mod world;

pub use accounts::{Account, Accounts, Footing};
pub use daemon::{Daemon, Outcome};
pub use error::{Error, Result};
pub use keys::{ApiKey, CaKey};
pub use mcp::{Answer, Mcp, ToolAnswer, VERSION};
pub use program::{Program, RunOutput, run};
pub use serde_json::{Value, json};
pub use sshd::Sshd;
pub use world::{Builder, World};

/// Reports on standard output that the current test is skipped, and why. `cargo xtask test` reads the
/// same line from the file named by `EPHYR_SKIPPED_TESTS`, so that a skipped test does not count as
/// passed.
#[expect(
    clippy::print_stdout,
    reason = "shown to a person who runs the test by hand"
)]
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let line = format!("SKIP {}: {why}\n", thread.name().unwrap_or("test"));
    print!("{line}");
    if let Some(path) = std::env::var_os("EPHYR_SKIPPED_TESTS")
        && let Ok(mut file) = File::options().create(true).append(true).open(path)
    {
        // A single write: lines of concurrent tests do not interleave.
        let _ = file.write_all(line.as_bytes());
    }
}
