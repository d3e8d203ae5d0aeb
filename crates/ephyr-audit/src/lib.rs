//! The audit log of Ephyr: what happened, in an order that cannot be changed unnoticed.
//!
//! One JSON object per line in the hash chain of [`ephyr_chain`], written by one thread in batches ([`Writer`]),
//! countersigned by the signer ([`Checkpoint`]) and verified offline with only the log and the CA's public key
//! ([`verify()`]). Three laws:
//!
//! - An effect needs an [`Attempt`]: its record is on disk before anything happens, and its outcome follows.
//! - A record is completely in the log or not at all, and a line has at most [`MAX_LINE`](ephyr_chain::MAX_LINE) bytes,
//!   whatever its content.
//! - Secrets never enter the log. This crate cannot recognize one, so the caller that fills a [`Record`] must.
//!
//! The modules, from the top: `durable` → `handover` → `attempt` → `writer` → `worker` → `opening`, `continuing` → `open_log`, `shared` → `queue`, `progress`,
//! `files` → `record`. `verify` and `query` read only.

mod appended;
mod attempt;
mod clock;
mod continuing;
mod durable;
mod error;
mod event;
mod files;
mod handover;
mod open_log;
mod opening;
mod progress;
mod query;
mod queue;
mod record;
mod render;
mod shared;
mod text;
mod verify;
mod worker;
mod writer;

pub use appended::{Appended, Completion};
pub use attempt::{Attempt, AttemptKind};
pub use clock::new_record_id;
pub use ephyr_chain::{ChainOpenError, Checkpoint, Fold};
pub use error::{AuditError, CheckpointFault, Failure, OpenError};
pub use event::{Event, EventError, Severity};
pub use files::{checkpoint_file, log_files};
pub use handover::Inbox;
pub use progress::{Position, Unsigned};
pub use query::{Filter, QueryError, find_delegation, find_record, query};
pub use record::{ActionInfo, ActionKind, DecisionInfo, LogLink, Record, Stored};
pub use text::{Detail, Text, Whole};
pub use verify::{Fault, Report, VerifyError, VerifyOptions, verify};
pub use writer::{OpenReport, Writer, WriterOptions};
