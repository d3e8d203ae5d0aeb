//! Rules that hold in every interleaving of concurrent requests. Where a rule depends on the order of steps, a twin
//! with the steps in the wrong order shows that the model detects a violation.

#![cfg(test)]

mod binding;
mod delegating;
mod proofs;
mod slots;
mod starting;
mod world;
