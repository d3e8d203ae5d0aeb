//! The tool `exec`.

use std::borrow::Cow;
use std::ops::Not;

use ephyr_names::{RoleName, TargetName};
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::receipt::ReceiptView;
use crate::tool::{DryRun, ToolArguments};

/// The timeout of a command, in seconds, if none is given.
pub const DEFAULT_TIMEOUT: u64 = 30;
/// The longest timeout of a command, in seconds.
pub const MAX_TIMEOUT: u64 = 300;

/// The arguments of `exec`. Names are unparsed, so that the broker's error can name the wrong argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecArguments {
    /// The target.
    pub target: String,
    /// The role.
    pub role: String,
    /// The command line for the account's login shell.
    pub command: String,
    /// The timeout in seconds.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
    /// The encoding of the output.
    #[serde(default)]
    pub encoding: Encoding,
    /// Whether only the decision is requested.
    #[serde(default)]
    pub dry_run: bool,
}

impl ExecArguments {
    /// Returns the arguments for a command, with defaults for the others.
    pub fn new(
        target: impl Into<String>,
        role: impl Into<String>,
        command: impl Into<String>,
    ) -> Self {
        Self {
            target: target.into(),
            role: role.into(),
            command: command.into(),
            timeout: DEFAULT_TIMEOUT,
            encoding: Encoding::default(),
            dry_run: false,
        }
    }
}

fn default_timeout() -> u64 {
    DEFAULT_TIMEOUT
}

impl ToolArguments for ExecArguments {
    const TOOL: &'static str = "exec";
    type Result = CommandResult<'static>;

    fn may_act(&self) -> bool {
        !self.dry_run
    }
}

impl DryRun for ExecArguments {
    type Preview = ExecPreview<'static>;

    fn dry_run(self) -> Self {
        Self {
            dry_run: true,
            ..self
        }
    }
}

/// The encoding of a command's output in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Text. Bytes that are not UTF-8 are replaced, which the result reports.
    #[default]
    Text,
    /// Base64 of the bytes.
    Base64,
}

impl Encoding {
    fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

/// The output of a command, up to its end or the loss of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutput<'a> {
    /// The standard output.
    pub stdout: Cow<'a, str>,
    /// The standard error.
    pub stderr: Cow<'a, str>,
    /// The encoding of both.
    #[serde(default, skip_serializing_if = "Encoding::is_text")]
    pub encoding: Encoding,
    /// The number of bytes written to standard output, kept or not.
    pub stdout_bytes: u64,
    /// The number of bytes written to standard error, kept or not.
    pub stderr_bytes: u64,
    /// Whether bytes of standard output that are not UTF-8 were replaced.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub stdout_lossy: bool,
    /// Whether bytes of standard error that are not UTF-8 were replaced.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub stderr_lossy: bool,
    /// Whether output beyond the limit was dropped.
    pub truncated: bool,
}

/// The result of a completed command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandResult<'a> {
    /// The output.
    #[serde(flatten)]
    pub output: CommandOutput<'a>,
    /// The exit code; -1 if a signal or the timeout ended the command.
    pub exit_code: i64,
    /// The signal that ended the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Cow<'a, str>>,
    /// Whether the timeout ended the command.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub timed_out: bool,
    /// The target.
    pub target: Cow<'a, TargetName>,
    /// The role.
    pub role: Cow<'a, RoleName>,
    /// The time from decision to outcome, in milliseconds.
    pub duration_ms: u64,
    /// The receipt of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptView>,
}

/// The result of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPreview<'a> {
    /// The target.
    pub target: Cow<'a, TargetName>,
    /// The role.
    pub role: Cow<'a, RoleName>,
    /// The decision.
    pub decision: Decision<'a>,
}

/// The details of a command that did not run or did not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecFailure<'a> {
    /// The reason code.
    pub reason: Cow<'a, str>,
    /// Whether the command was sent to the target, so that it may have run.
    pub started: bool,
    /// The output received so far.
    #[serde(flatten)]
    pub output: Option<CommandOutput<'a>>,
}
