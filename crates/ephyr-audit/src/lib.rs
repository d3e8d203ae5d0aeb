//! The audit log of Ephyr: what happened, in an order that cannot be changed unnoticed.
//!
//! One JSON object a line, each with the hash of all before it ([`Line`]), written by one thread in
//! batches ([`Writer`]), countersigned by the signer ([`Checkpoint`]) and checked offline with nothing
//! but the log and the CA's public key ([`verify`]). Three laws:
//!
//! - An effect needs an [`Attempt`]: its record is on disk before anything happens, and its outcome follows.
//! - A record is wholly in the log or not at all, and a line has at most [`MAX_LINE`] bytes, whatever
//!   stands in it.
//! - Secrets never enter. This crate cannot know one; whoever fills a [`Record`] must.
//!
//! The signer keeps its own journal with the same chain and its own records ([`ChainFile`]).

mod attempt;
mod chain;
mod checkpoint;
mod clock;
mod continued;
mod encode;
mod error;
mod event;
mod file;
mod files;
mod handover;
mod ledger;
mod query;
mod queue;
mod record;
mod render;
mod start;
mod text;
mod torn;
mod verify;
mod worker;
mod writer;

pub use attempt::{Attempt, AttemptKind};
pub use chain::{Line, LineFault, SealError};
pub use checkpoint::{Checkpoint, Fold};
pub use clock::new_record_id;
pub use encode::{MAX_LINE, Shown, canonical};
pub use ephyr_sandbox::Displaced;
pub use error::{AuditError, CheckpointFault, Failure, OpenError};
pub use event::{Event, EventError, Severity};
pub use file::{ChainFile, ChainOpened, FirstPrevious, from_zero};
pub use files::{checkpoint_file, log_files};
pub use handover::Inbox;
pub use ledger::{Position, Unsigned};
pub use query::{Filter, QueryError, find_delegation, find_record, query};
pub use record::{ActionInfo, ActionKind, DecisionInfo, LogLink, Record, Stored};
pub use text::{Detail, Text, Whole};
pub use torn::Torn;
pub use verify::{Fault, Report, VerifyError, VerifyOptions, verify};
pub use writer::{Appended, Completion, OpenReport, Writer, WriterOptions};
