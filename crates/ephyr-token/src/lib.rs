//! Task tokens: minting, narrowing and verification of authority.
//!
//! A token is a macaroon: a list of caveats under a chain of HMACs, each keyed with the one before. Any
//! holder can append caveats; removing or changing one requires the root key. Invariants:
//!
//! 1. **Only the broker section sets the identity.** The identifier says how many caveats the broker
//!    wrote. Tasks, agents and holder keys are read only there, so a caveat that a holder appends cannot
//!    change the token's task, agent or key.
//! 2. **A caveat only narrows.** Sets intersect, numbers take the minimum, booleans combine with AND, times
//!    take the earliest. A dimension that the root segment does not name denies, so the first caveat of a
//!    dimension narrows like any later one.
//! 3. **The empty set denies.** An empty [`Scope::Only`] and [`Scope::Any`] are different values with
//!    different spellings (`IN []`, `IN [*]`); `*` is valid only in the broker section.
//! 4. **Unverified and verified tokens are different types.** Only [`UnverifiedToken::verify`] returns a
//!    [`VerifiedToken`], the only one of the two with an [`Envelope`].
//! 5. **One caveat, one spelling.** A non-canonical caveat is refused, except that a list's items may
//!    come in any order.
//!
//! The crate is pure: no I/O, no clock, no randomness, no globals. Time, keys, ids and nonces are
//! arguments. `docs/tokens.md` specifies the formats for authors of other verifiers and clients.

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

/// Maximum depth of a task; the root has depth 0.
pub const MAX_DEPTH: u8 = 5;

/// Maximum lifetime of a root task, and so of every token below it.
pub const MAX_ROOT_TTL: ephyr_names::Ttl = ephyr_names::Ttl::from_secs(3600);
