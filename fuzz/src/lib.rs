//! Reports violations to the fuzzer. The properties are in `crates/ephyr-properties`.

/// Fails the fuzz run if a property is violated.
///
/// # Panics
/// If `verdict` is a violation.
pub fn check(verdict: Result<(), ephyr_properties::Violation>) {
    if let Err(violation) = verdict {
        panic!("{violation}");
    }
}
