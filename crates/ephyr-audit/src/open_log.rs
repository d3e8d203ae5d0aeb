//! An open log, as the writer's thread holds it.

use ephyr_chain::{ChainFile, Fold};
use ephyr_names::Digest;

use crate::clock::{new_record_id, now};
use crate::event::Event;
use crate::record::Record;

pub(crate) struct OpenLog {
    pub(crate) chain: ChainFile,
    /// The fold over all records on disk.
    pub(crate) fold: Fold,
    /// Number of records in the files before this one.
    pub(crate) first: u64,
}

/// Returns a record that the log writes about itself, with the current time and a new id.
pub(crate) fn own_record(event: Event, policy: Digest) -> Record {
    let time = now();
    Record::new(new_record_id(time), time, event, policy)
}
