//! A whole Ephyr in a temporary directory, for tests, the demo and measurements: signer and broker as
//! two different users, a real `sshd` for each target, agents that connect with a UID of their own.
//!
//! As root, a [`World`] lives in a private mount namespace in which `/etc/passwd` and its like are
//! copies with the accounts of the world added, so that nothing on the machine changes. As an
//! ordinary user everything runs as that user and the roles' account is that user; tests that need a
//! second identity then say [`skip`].
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
pub use program::{Program, Ran, run};
pub use serde_json::{Value, json};
pub use sshd::Sshd;
pub use world::{Builder, World};

/// Says on standard output that this test is not run here, and why. `cargo xtask test` also gets the
/// line in the file that `EPHYR_SKIPPED_TESTS` names, so that a test without its preconditions never
/// passes for one that ran.
#[expect(
    clippy::print_stdout,
    reason = "whoever runs the test by hand sees this line"
)]
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let line = format!("SKIP {}: {why}\n", thread.name().unwrap_or("test"));
    print!("{line}");
    if let Some(path) = std::env::var_os("EPHYR_SKIPPED_TESTS")
        && let Ok(mut file) = File::options().create(true).append(true).open(path)
    {
        // One write each: lines of tests that run at once do not mix.
        let _ = file.write_all(line.as_bytes());
    }
}
