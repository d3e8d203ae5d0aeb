//! Reads, counted: what looks and changes nothing is recorded within a second, the same read of the same
//! caller as one record with a count. Counting is all that happens while the caller waits.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use ephyr_audit::{ActionInfo, ActionKind, Event, Record};
use ephyr_core::caller::AgentCaller;
use ephyr_core::ids;
use ephyr_names::{AgentName, Digest, TaskId, Timestamp};

use crate::clock;

/// Different reads between two flushes; more are recorded one by one.
const MOST: usize = 4096;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct What {
    /// Its kind: a tool, a resource or a path of the API.
    pub kind: ActionKind,
    /// The tool's name, the resource's URI or the path.
    pub name: &'static str,
}

/// Reads since the last flush.
#[derive(Default)]
pub struct Reads {
    hasher: RandomState,
    counts: Mutex<HashMap<u64, Read>>,
}

struct Read {
    agent: AgentName,
    lineage: Vec<TaskId>,
    what: What,
    policy: Digest,
    first: Timestamp,
    count: u32,
}

impl Read {
    fn of(caller: &AgentCaller, what: What, policy: Digest) -> Self {
        Self {
            agent: caller.agent().clone(),
            lineage: caller.lineage().collect(),
            what,
            policy,
            first: clock::now(),
            count: 1,
        }
    }

    fn is(&self, caller: &AgentCaller, what: What, policy: Digest) -> bool {
        self.what == what
            && self.agent == *caller.agent()
            && self.lineage.last().copied() == caller.task()
            && self.policy == policy
    }

    fn into_record(self) -> Record {
        let mut record = Record::new(
            ids::record_id(self.first),
            self.first,
            Event::Read,
            self.policy,
        );
        record = record.with_lineage(self.lineage);
        record.agent = Some(self.agent);
        record.count = (self.count > 1).then_some(self.count);
        let mut action = ActionInfo::new(self.what.kind);
        match self.what.kind {
            ActionKind::Tool => action.tool = self.what.name.parse().ok(),
            _ => action.url = Some(self.what.name.into()),
        }
        record.action = Some(action);
        record
    }
}

impl Reads {
    /// Counts a read. Gives a record back only where there is no room to count it.
    #[must_use]
    pub fn count(&self, caller: &AgentCaller, what: What, policy: Digest) -> Option<Record> {
        let key = self
            .hasher
            .hash_one((caller.agent().as_str(), caller.task(), what, policy));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let room = counts.len() < MOST;
        match counts.get_mut(&key) {
            Some(read) if read.is(caller, what, policy) => {
                read.count = read.count.saturating_add(1);
                None
            }
            None if room => {
                counts.insert(key, Read::of(caller, what, policy));
                None
            }
            // Two reads with one hash, or too many.
            _ => Some(Read::of(caller, what, policy).into_record()),
        }
    }

    /// The records of what was counted so far.
    pub fn flush(&self) -> Vec<Record> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let reads = std::mem::take(&mut *counts);
        drop(counts);
        let mut records: Vec<Record> = reads.into_values().map(Read::into_record).collect();
        records.sort_by_key(|record| record.id);
        records
    }
}
