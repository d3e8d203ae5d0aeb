//! Tests of the decision path: every denial beside an allowed twin, known faults, and comparison with a naive model.

#![cfg(test)]

mod answers;
mod faults;
mod limits;
mod model;
mod random;
mod twins;
mod upstreams;
mod world;
