//! Counts reads, requests that change nothing. Repeated reads of one caller become one audit record with a count,
//! written within a second, so that the caller does not wait for the log.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use ephyr_audit::{ActionInfo, ActionKind, Event, Record};
use ephyr_core::caller::AgentCaller;
use ephyr_core::ids;
use ephyr_names::{AgentName, Digest, TaskId, Timestamp};

use crate::clock;

/// The maximum of distinct reads between two flushes; any more are recorded one by one.
const MAX_DISTINCT_READS: usize = 4096;

/// The kind and name of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReadKind {
    /// A tool, a resource or a path of the API.
    pub kind: ActionKind,
    /// The tool's name, the resource's URI or the path.
    pub name: &'static str,
}

/// Reads since the last flush.
#[derive(Default)]
pub struct Reads {
    hasher: RandomState,
    counts: Mutex<HashMap<u64, ReadCount>>,
}

/// A read with the number of its repetitions.
struct ReadCount {
    agent: AgentName,
    lineage: Vec<TaskId>,
    read: ReadKind,
    policy: Digest,
    first: Timestamp,
    count: u32,
}

impl ReadCount {
    fn new(caller: &AgentCaller, read: ReadKind, policy: Digest) -> Self {
        Self {
            agent: caller.agent().clone(),
            lineage: caller.lineage().collect(),
            read,
            policy,
            first: clock::now(),
            count: 1,
        }
    }

    fn matches(&self, caller: &AgentCaller, read: ReadKind, policy: Digest) -> bool {
        self.read == read
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
        let mut action = ActionInfo::new(self.read.kind);
        match self.read.kind {
            ActionKind::Tool => action.tool = self.read.name.parse().ok(),
            _ => action.url = Some(self.read.name.into()),
        }
        record.action = Some(action);
        record
    }
}

impl Reads {
    /// Counts a read. Returns a record to write at once if the read cannot be counted.
    #[must_use]
    pub fn count(&self, caller: &AgentCaller, read: ReadKind, policy: Digest) -> Option<Record> {
        let key = self
            .hasher
            .hash_one((caller.agent().as_str(), caller.task(), read, policy));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let room = counts.len() < MAX_DISTINCT_READS;
        match counts.get_mut(&key) {
            Some(counted) if counted.matches(caller, read, policy) => {
                counted.count = counted.count.saturating_add(1);
                None
            }
            None if room => {
                counts.insert(key, ReadCount::new(caller, read, policy));
                None
            }
            // A hash collision, or too many distinct reads.
            _ => Some(ReadCount::new(caller, read, policy).into_record()),
        }
    }

    /// Returns the records of all reads since the last flush, in order of time.
    pub fn flush(&self) -> Vec<Record> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let reads = std::mem::take(&mut *counts);
        drop(counts);
        let mut records: Vec<Record> = reads.into_values().map(ReadCount::into_record).collect();
        records.sort_by_key(|record| record.id);
        records
    }
}
