//! How a target tells the fuzzer that it has found something. What is asked of an input stands in
//! `crates/ephyr-properties`.

/// Stops the run where a property is broken.
///
/// # Panics
/// When it is.
pub fn hunt(verdict: Result<(), ephyr_properties::Broken>) {
    if let Err(how) = verdict {
        panic!("{how}");
    }
}
