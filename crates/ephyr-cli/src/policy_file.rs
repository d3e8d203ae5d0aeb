//! The policy as commands read it from a file.

use std::path::Path;

use ephyr_policy::{MAX_POLICY_BYTES, Policy, load};
use ephyr_sandbox::read_regular;

use crate::failure::Failure;

/// A policy without errors.
///
/// # Errors
/// The file cannot be read, or is wrong: all that is wrong, with its places.
pub(crate) fn compiled(file: &Path) -> Result<Policy, Failure> {
    let source = read(file)?;
    load(&source, &file.display().to_string())
        .map_err(|diagnostics| Failure::data(diagnostics.to_string()))
}

/// Reads a policy from a regular file.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    read_regular(file, MAX_POLICY_BYTES).map_err(|error| Failure::unreadable(file, &error))
}
