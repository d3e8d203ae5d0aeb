//! Reads policies from files.

use std::path::Path;

use ephyr_policy::{MAX_POLICY_BYTES, Policy, load};
use ephyr_sandbox::read_regular;

use crate::failure::Failure;

/// Reads and compiles a policy.
///
/// # Errors
/// The file cannot be read, or the policy is invalid; the message lists all errors with their positions.
pub(crate) fn compiled(file: &Path) -> Result<Policy, Failure> {
    let source = read(file)?;
    load(&source, &file.display().to_string())
        .map_err(|diagnostics| Failure::data(diagnostics.to_string()))
}

/// Reads a policy from a regular file.
///
/// # Errors
/// The file cannot be read, is not a regular file or is too long.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    read_regular(file, MAX_POLICY_BYTES).map_err(|error| Failure::unreadable(file, &error))
}
