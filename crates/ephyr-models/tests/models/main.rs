//! What must hold in whatever order the steps of several requests come. Where an order of steps is what
//! counts, a twin with the steps turned round shows that the model would have seen it.

#![cfg(test)]

mod binding;
mod delegating;
mod proofs;
mod slots;
mod starting;
mod world;
