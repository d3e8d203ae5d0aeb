//! The policy: parsed strictly, compiled once, asked for every action.
//!
//! [`load`] turns the bytes of `policy.yaml` into a [`Policy`] or into all that is wrong with them.
//! [`authorize`] decides an action by it and is the only maker of a permit ([`SshPermit`], [`HttpPermit`],
//! [`McpPermit`]), which everything that reaches an upstream requires. The signer uses [`Policy::pairing`], the same rules without the
//! broker's tokens and counts.
//!
//! The crate is pure: no I/O, no clock, no randomness, no globals. Time, bytes and the ledger are
//! arguments.

mod check;
mod codes;
mod commands;
mod compile;
mod decide;
mod diagnostic;
mod fields;
mod format;
mod model;
mod path;
mod programs;
mod rate;
mod reference;
mod schema;
mod sealed;
mod shape;
mod source;
mod sudo;
mod suggest;
mod text;

pub use codes::{CODES, Code, code, codes_markdown};
pub use commands::CommandPolicy;
pub use compile::load;
pub use decide::{
    Action, AnyAction, Authorization, Cause, CertificateKind, Decision, Denial, HttpAction,
    HttpGranted, HttpPermit, Ledger, LedgerEntry, LineageError, McpAction, McpGranted, McpPermit,
    Pairing, Purpose, Reachable, ReasonCode, ResolvedTarget, SEALED_TTL, SlotId, SshAction,
    SshGranted, SshPermit, Subject, Unpaired, authorize, evaluate, preview, reachable,
};
pub use diagnostic::{Diagnostic, Diagnostics, Severity, report};
pub use format::check_point;
pub use model::*;
pub use programs::{UnknownProgram, unknown_programs};
pub use rate::{Rate, RateWindow};
pub use reference::reference_markdown;
pub use schema::schema;
pub use sealed::{SEALED_BEGINS, SEALED_SHELLS, runs_sealed_commands, sealed_command};
pub use source::MAX_POLICY_BYTES;
