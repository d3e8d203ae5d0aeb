//! Queries of a log by task, agent, event, severity and time. A query does not check the chain; [`verify`](crate::verify())
//! does.

use std::io::{self, BufRead};

use ephyr_chain::{Line, LineFault, Lines, NextLine};
use ephyr_names::{AgentName, Digest, RecordId, TaskId, Timestamp};
use ephyr_token::DelegationCertificate;

use crate::event::{Event, Severity};
use crate::record::{Record, Stored};

/// Selects records. A field that is not set admits all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Records of this task and its descendants.
    pub task: Option<TaskId>,
    /// Records of this agent.
    pub agent: Option<AgentName>,
    /// Records of these events; empty for all.
    pub events: Vec<Event>,
    /// Records of at least this severity.
    pub severity: Option<Severity>,
    /// Records at or after this time.
    pub since: Option<Timestamp>,
    /// Records before this time.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Returns whether the filter admits the record.
    #[must_use]
    pub fn admits(&self, record: &Record) -> bool {
        self.task.is_none_or(|task| record.is_of_task(task))
            && (self.agent.is_none() || self.agent == record.agent)
            && (self.events.is_empty() || self.events.contains(&record.event))
            && self.severity.is_none_or(|least| record.severity >= least)
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
    }
}

/// The reason why a log cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The file cannot be read.
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not a record.
    #[error("line {line}: {fault}; run `ephyr audit verify`")]
    Line {
        /// The line's number, from 1.
        line: u64,
        /// The fault found in the line.
        fault: LineFault,
    },
}

/// Returns the records of a file that the filter admits, in order. An incomplete last line is skipped, because the
/// writer may be appending it.
pub fn query<R: BufRead>(
    file: R,
    filter: &Filter,
) -> impl Iterator<Item = Result<Stored, QueryError>> {
    let mut lines = Lines::new(file);
    let mut number = 0;
    let mut ended = false;
    let mut next = move || -> Result<Option<Stored>, QueryError> {
        loop {
            number += 1;
            let found = match lines.read_next()? {
                NextLine::Line(text) => Line::split(text).and_then(|line| {
                    let record: Record = line.parse()?;
                    let hash = line.hash();
                    Ok(filter.admits(&record).then_some(Stored { record, hash }))
                }),
                NextLine::TooLong => Err(LineFault::TooLong),
                NextLine::Torn | NextLine::End => return Ok(None),
            };
            match found {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(fault) => {
                    return Err(QueryError::Line {
                        line: number,
                        fault,
                    });
                }
            }
        }
    };
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let item = next().transpose();
        ended = !matches!(item, Some(Ok(_)));
        item
    })
}

/// Returns the record with this id.
///
/// # Errors
/// [`QueryError`] if the log cannot be read up to that record.
pub fn find_record<R: BufRead>(file: R, id: RecordId) -> Result<Option<Stored>, QueryError> {
    first(query(file, &Filter::default()), |stored| {
        (stored.record.id == id).then_some(stored)
    })
}

/// Returns the delegation certificate with this id, from the `epoch_started` record of its epoch.
///
/// # Errors
/// [`QueryError`] if the log cannot be read up to that record.
pub fn find_delegation<R: BufRead>(
    file: R,
    certificate: Digest,
) -> Result<Option<DelegationCertificate>, QueryError> {
    let filter = Filter {
        events: vec![Event::EpochStarted],
        ..Filter::default()
    };
    first(query(file, &filter), |stored| {
        let delegation = stored.record.delegation?;
        (delegation.id() == certificate).then_some(*delegation)
    })
}

fn first<T>(
    records: impl Iterator<Item = Result<Stored, QueryError>>,
    mut wanted: impl FnMut(Stored) -> Option<T>,
) -> Result<Option<T>, QueryError> {
    for stored in records {
        if let Some(found) = wanted(stored?) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
