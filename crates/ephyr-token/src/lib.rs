//! Task tokens: how authority is written down, narrowed and read back.
//!
//! A token is a macaroon: a list of caveats under a chain of HMACs, each keyed with the one before.
//! Whoever holds one can append caveats; nobody without the root key can remove or change any. The
//! laws that everything here keeps:
//!
//! 1. **Only the broker section names who.** The identifier says how many caveats the broker wrote.
//!    Tasks, agents and holder keys are read there and nowhere else, so nothing that a holder appends
//!    makes a token stand for another task, agent or key.
//! 2. **A caveat only narrows.** Sets intersect, numbers take the minimum, booleans AND, times the
//!    earliest. A dimension that the root segment does not name denies, so the first caveat of a
//!    dimension is no different from the second.
//! 3. **The empty set denies.** [`Scope::Only`] of nothing and [`Scope::Any`] are different values and
//!    have different spellings (`IN []`, `IN [*]`); `*` may stand only in the broker section.
//! 4. **Unverified and verified tokens are different types.** [`UnverifiedToken::verify`] is the only
//!    way to a [`VerifiedToken`], and only that one has an [`Envelope`].
//! 5. **One caveat, one spelling.** What would not be written back as it was read is refused.
//!
//! The crate is pure: no I/O, no clock, no randomness, no globals. Time, keys, ids and nonces are
//! arguments. `docs/tokens.md` gives the formats for whoever writes another verifier or a client.

mod authority;
mod caveat;
mod delegation;
mod envelope;
mod error;
mod explain;
mod keys;
mod limit;
mod mint;
mod narrowing;
mod point;
pub mod proof;
mod receipt;
mod reduce;
mod segment;
pub mod sshsig;
mod time;
mod verify;
mod wire;

pub use authority::{CaKeys, CaKeysError, MAX_CA_LIST};
pub use delegation::{DelegationCertificate, DelegationError, DelegationPayload, MAX_DELEGATION};
pub use envelope::{Envelope, Grants, Scope};
pub use error::{MintError, TokenError};
pub use explain::{Explanation, explain};
pub use keys::{EpochSecret, HolderKey, Initiator, InitiatorError, KeyError, RootKey};
pub use limit::{HolderCaveat, LimitError};
pub use mint::{ChildSpec, Narrowing, RootSpec, mint_child, mint_root, rebind};
pub use narrowing::NarrowingArguments;
pub use point::{PointFault, usable_point};
pub use proof::{Nonce, Proof, ProofError, ProofRequest, Proven};
pub use receipt::{Receipt, ReceiptError};
pub use segment::Segment;
pub use verify::{UnverifiedToken, VerifiedToken};
pub use wire::{LOCATION, MAX_TOKEN_BYTES, TEXT_PREFIX, Token};

/// Greatest depth of a task below its root, which has depth 0.
pub const MAX_DEPTH: u8 = 5;

/// Longest life of a root task, and so of every token below it.
pub const MAX_ROOT_TTL: ephyr_names::Ttl = ephyr_names::Ttl::from_secs(3600);
