//! The key holder: turns intents into certificates by its own policy. Synchronous, small, never on a network.

fn main() {}
