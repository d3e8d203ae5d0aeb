//! The audit log of Ephyr: a tamper-evident, ordered record of events.
//!
//! One JSON object per line in the hash chain of [`ephyr_chain`], written by one thread in batches ([`Writer`]),
//! countersigned by the signer ([`Checkpoint`]) and verified offline with only the log and the CA's public key
//! ([`verify()`]). Three rules hold:
//!
//! - Every effect requires an [`Attempt`], whose record is on disk before the effect. Its outcome is recorded afterwards.
//! - A record is in the log completely or not at all. A line has at most [`MAX_LINE`](ephyr_chain::MAX_LINE) bytes,
//!   whatever its content.
//! - The log contains no secrets. This crate cannot recognize them, so code that fills a [`Record`] must keep them out.
//!
//! Module layers, from the top: `durable` → `handover` → `attempt` → `writer` → `worker` → `opening`, `continuing` →
//! `open_log`, `shared` → `queue`, `progress`, `files` → `record`. `verify` and `query` only read.

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
