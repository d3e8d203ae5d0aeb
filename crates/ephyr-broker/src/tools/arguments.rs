//! Parsing of tool arguments.

use ephyr_mcp::ToolError;
use ephyr_names::{TaskId, Ttl};
use ephyr_token::{HolderKey, Narrowing, NarrowingArguments};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Parses the arguments. They passed the tool's schema, so an error means that schema and type differ.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(arguments: &RawValue) -> Result<T, ToolError> {
    serde_json::from_str(arguments.get())
        .map_err(|error| ToolError::bad_arguments(format!("the arguments: {error}")))
}

/// Reads the argument `ttl`.
pub(super) fn ttl(text: &str) -> Result<Ttl, ToolError> {
    text.parse()
        .map_err(|error| ToolError::bad_arguments(format!("argument \"ttl\": {error}")))
}

/// Reads the argument `holder_pub_key`.
pub(super) fn holder(text: &str) -> Result<HolderKey, ToolError> {
    text.parse()
        .map_err(|error| ToolError::bad_arguments(format!("argument \"holder_pub_key\": {error}")))
}

/// Reads the argument `task_id` or `parent_task_id`.
pub(super) fn task_id(text: &str) -> Result<TaskId, ToolError> {
    text.parse()
        .map_err(|error| ToolError::bad_arguments(format!("argument \"task_id\": {error}")))
}

/// Reads the argument `envelope`.
pub(super) fn narrowing(arguments: Option<NarrowingArguments>) -> Result<Narrowing, ToolError> {
    let narrowing = arguments.unwrap_or_default().into_narrowing();
    narrowing.map_err(|error| ToolError::bad_arguments(format!("argument \"envelope\": {error}")))
}
