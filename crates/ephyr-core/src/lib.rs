//! What the broker knows and does whichever way a request came in: state, slots, running actions, attempts, and the
//! signer's client. No HTTP server, no SSH, no policy of its own.
//!
//! - [`state`] outlives a restart: epochs, tasks, revocations, nonces. The journal comes first, then memory, then the
//!   answer.
//! - [`tokens`] finds the live task behind a token's text.
//! - [`gate`] runs the decision path and holds its slots.
//! - [`live`] registers what runs, so that a revocation or a new policy can end it.
//! - [`caller`] is the agent or operator behind a request.
//! - [`audit`] records attempts before anything takes effect, and has the signer countersign the log.
//! - [`signer`] issues nothing without a permit and a recorded attempt.

pub mod audit;
pub mod caller;
pub mod epoch;
pub mod gate;
pub mod ids;
pub mod live;
pub mod signer;
pub mod state;
pub mod sync;
#[cfg(test)]
mod testing;
pub mod tokens;
