//! The network side: who asks, whether it is allowed, and the doing of it.

fn main() {}
