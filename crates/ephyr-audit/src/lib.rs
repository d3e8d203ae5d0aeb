//! The audit log: records, hash chain, writer, verifier.
