//! Runs a program from a test and captures its output.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::{Context as _, Error, Result};

/// A program to run with a clean environment.
#[derive(Clone)]
pub struct Program {
    path: PathBuf,
    environment: Vec<(String, String)>,
    input: String,
}

/// The exit status and output of a program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutput {
    /// The exit status; -1 if a signal ended the program.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Program {
    /// The program at `path`: `env!("CARGO_BIN_EXE_…")` in an integration test.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            environment: Vec::new(),
            input: String::new(),
        }
    }

    /// Sets a variable. From the test's own environment, only `PATH` is inherited.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets the text of standard input.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    /// Runs the program until it exits.
    ///
    /// # Panics
    /// The program cannot be started, or its output is not UTF-8.
    #[must_use]
    #[expect(
        clippy::panic,
        reason = "a program that cannot be started is an error of the test itself"
    )]
    pub fn run(&self, arguments: &[&str]) -> RunOutput {
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

/// Runs a command with `input` on its standard input.
///
/// # Errors
/// The command cannot be started, or its output is not UTF-8.
pub fn run(mut command: Command, input: &str) -> Result<RunOutput> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "starting the program".into())?;
    if let Some(mut pipe) = child.stdin.take() {
        // Fails if the program exits without reading its input, which is allowed.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .context(|| "waiting for the program".into())?;
    let text = |bytes| String::from_utf8(bytes).map_err(|_| Error::new("output is not UTF-8"));
    Ok(RunOutput {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout)?,
        err: text(output.stderr)?,
    })
}
