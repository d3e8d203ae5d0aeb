//! The decision path: twins for every denial, the faults it must not repeat, and a naive model.

#![cfg(test)]

mod answers;
mod faults;
mod limits;
mod model;
mod random;
mod twins;
mod upstreams;
mod world;
