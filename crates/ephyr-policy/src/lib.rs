//! Pure: parses and compiles the policy and decides what an agent may do.
