//! What must hold of any bytes whatever. Each property takes an input and says how it is broken, if it
//! is. The fuzz targets under `fuzz/` hunt for inputs that break one; the test of this crate asks the same
//! of every input that is committed under `fuzz/corpus`, without any fuzzer.

mod envelope;
mod frames;
mod policy;
mod token;

pub use envelope::task_envelope;
pub use frames::signer_frames;
pub use policy::policy_yaml;
pub use token::{caveat_parse, proof_check, reduce_monotonic, token_decode};

/// How a property is broken.
pub type Broken = String;

/// A property of inputs.
pub type Property = fn(&[u8]) -> Result<(), Broken>;

/// Every property, by the name of its fuzz target and of the folder of its corpus.
pub const PROPERTIES: [(&str, Property); 7] = [
    ("caveat_parse", caveat_parse),
    ("policy_yaml", policy_yaml),
    ("proof_check", proof_check),
    ("reduce_monotonic", reduce_monotonic),
    ("signer_frames", signer_frames),
    ("task_envelope", task_envelope),
    ("token_decode", token_decode),
];

/// Says why, unless something holds.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(why()) }
}

/// The value, which must be there.
fn must<T, E: std::fmt::Display>(value: Result<T, E>, what: &str) -> Result<T, Broken> {
    value.map_err(|error| format!("{what}: {error}"))
}
