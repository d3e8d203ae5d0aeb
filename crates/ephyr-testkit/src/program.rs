//! Running a program from a test and looking at what it gave.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::{Context as _, Error, Result};

/// A program to run, with an environment of its own.
#[derive(Clone)]
pub struct Program {
    path: PathBuf,
    environment: Vec<(String, String)>,
    input: String,
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The exit status; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Program {
    /// A program by its path: `env!("CARGO_BIN_EXE_…")` in an integration test.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            environment: Vec::new(),
            input: String::new(),
        }
    }

    /// With this variable set. Nothing of the test's own environment but PATH is passed on.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With this on standard input.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be run at all: that is no outcome of a test.
    #[must_use]
    #[expect(
        clippy::panic,
        reason = "a program that does not start is no outcome of a test"
    )]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        match run(command, &self.input) {
            Ok(ran) => ran,
            Err(error) => panic!("{}: {error}", self.path.display()),
        }
    }
}

/// Runs a command with this on its standard input.
///
/// # Errors
/// It cannot be started, or writes what is not text.
pub fn run(mut command: Command, input: &str) -> Result<Ran> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "starting".into())?;
    if let Some(mut pipe) = child.stdin.take() {
        // It may end without reading: that is its right.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().context(|| "waiting".into())?;
    let text = |bytes| String::from_utf8(bytes).map_err(|_| Error::new("its output is no UTF-8"));
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout)?,
        err: text(output.stderr)?,
    })
}
