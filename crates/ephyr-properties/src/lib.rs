//! Properties that must hold for any input bytes. The fuzz targets under `fuzz/` search for inputs that
//! violate one; the test of this crate checks the inputs committed under `fuzz/corpus` without a fuzzer.

mod envelope;
mod frames;
mod policy;
mod token;

pub use envelope::task_envelope;
pub use frames::signer_frames;
pub use policy::policy_yaml;
pub use token::{caveat_parse, proof_check, reduce_monotonic, token_decode};

/// A description of how an input violates a property.
pub type Violation = String;

/// A property of an input.
pub type Property = fn(&[u8]) -> Result<(), Violation>;

/// Every property, by the name of its fuzz target and corpus directory.
pub const PROPERTIES: [(&str, Property); 7] = [
    ("caveat_parse", caveat_parse),
    ("policy_yaml", policy_yaml),
    ("proof_check", proof_check),
    ("reduce_monotonic", reduce_monotonic),
    ("signer_frames", signer_frames),
    ("task_envelope", task_envelope),
    ("token_decode", token_decode),
];

/// Returns the violation unless `holds`.
fn ensure(holds: bool, violation: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(violation()) }
}

/// Returns the value; an error is a violation, described by `context` and the error.
fn expect_ok<T, E: std::fmt::Display>(value: Result<T, E>, context: &str) -> Result<T, Violation> {
    value.map_err(|error| format!("{context}: {error}"))
}
