//! A hash chain over lines of JSON, as used by the audit log and the signer's journal.
//!
//! - [`EncodedRecord`] and [`Line`]: a record as a line, whose last field is the hash of everything before it;
//!   [`Lines`] reads them.
//! - [`Fold`] and [`Checkpoint`]: the signer's countersignature over the first records of a log.
//! - [`ChainFile`]: an append-only file of such lines with one writer.
//!
//! The modules `encode`, `line`, `lines` and `checkpoint` do no I/O of their own. Only `file` and [`beside`] touch the file
//! system: [`ChainFile`] writes the given file, and moves an incomplete last line to a file beside it. No module reads a
//! clock; times are arguments.

pub mod beside;
mod checkpoint;
mod encode;
mod error;
mod file;
mod line;
mod lines;

pub use checkpoint::{Checkpoint, Fold};
pub use encode::{MAX_LINE, Shown, canonical, encoded_len, show_char};
pub use error::{ChainOpenError, ChainWriteError};
pub use file::{ChainFile, ChainOpened, FirstPrevious, Torn, from_zero};
pub use line::{EncodedRecord, Line, LineFault, SealError};
pub use lines::{Lines, NextLine};
