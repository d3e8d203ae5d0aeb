//! Parses and compiles the policy and decides each action by it.
//!
//! [`load`] turns the bytes of `policy.yaml` into a [`Policy`] or into [`Diagnostics`] that list every error.
//! [`authorize`] decides an action and is the only constructor of a permit ([`SshPermit`], [`HttpPermit`],
//! [`McpPermit`]); every connection to an upstream requires one. The signer checks the same rules by
//! [`Policy::pairing`], without the broker's tokens and limits.
//!
//! The crate is pure: no I/O, no clock, no randomness, no globals. Time, bytes and the ledger are arguments.

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
