//! Traits of tool arguments, which determine the tool's name and the type of its result.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The arguments of a tool.
pub trait ToolArguments: Serialize {
    /// The tool's name.
    const TOOL: &'static str;
    /// The result of a successful call.
    type Result: DeserializeOwned;

    /// Returns whether a call may have an effect, so that it must not be retried blindly after a lost answer.
    fn may_act(&self) -> bool;
}

/// The arguments of a tool that supports dry runs.
pub trait DryRun: ToolArguments {
    /// The result of a dry run.
    type Preview: DeserializeOwned;

    /// Returns the arguments with `dry_run` set.
    #[must_use]
    fn dry_run(self) -> Self;
}
