//! The broker's core, independent of how a request arrives: state, slots, running actions, attempts, and the signer's
//! client. It contains no HTTP server, no SSH and no policy.
//!
//! - [`state`] survives a restart: epochs, tasks, revocations, nonces. A change is journalled first, then applied in
//!   memory, then answered.
//! - [`tokens`] resolves a token to its live task.
//! - [`gate`] runs the decision path and holds its slots.
//! - [`limits`] counts each agent's requests and serializes its walks through task trees.
//! - [`live`] registers running actions, so that a revocation or a new policy can end them.
//! - [`caller`] is the agent or operator behind a request.
//! - [`audit`] records attempts before any effect, and has the signer countersign the log.
//! - [`signer`] issues nothing without a permit and a recorded attempt.

// The unit tests use locks outside of a model, which shuttle's locks do not allow.
#![cfg(not(all(test, feature = "shuttle")))]

pub mod audit;
pub mod caller;
pub mod epoch;
pub mod gate;
pub mod ids;
pub mod limits;
pub mod live;
pub mod signer;
pub mod state;
pub mod sync;
#[cfg(test)]
mod testing;
pub mod tokens;
