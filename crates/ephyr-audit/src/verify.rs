//! Checking a log offline, with the CA's public key alone: the chain, the signer's countersignatures,
//! and that nothing took effect without a recorded attempt.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead};

use ephyr_chain::{Checkpoint, Fold, Line, LineFault, Lines, NextLine};
use ephyr_names::{Digest, RecordId, Timestamp};
use ssh_key::PublicKey;

use crate::event::Event;
use crate::files;
use crate::record::{Record, TAKEN_AWAY};

/// What else to hold a log against.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Checkpoints kept elsewhere: the log must be theirs and hold what they cover. They are what shows
    /// that a log's end was cut off, its last checkpoint included.
    pub shipped: Vec<Checkpoint>,
    /// Whether the oldest files may be missing. Nothing is then said about the records in them.
    pub partial: bool,
}

/// What was found in a log that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The log's id.
    pub log: RecordId,
    /// Records before the first file, which were not seen; zero for a whole log.
    pub unseen: u64,
    /// Records in the log, those before the first file included.
    pub records: u64,
    /// Checkpoints in it.
    pub checkpoints: u64,
    /// Records that the last checkpoint covers, in the log or shipped.
    pub signed: u64,
    /// When that was signed.
    pub signed_at: Option<Timestamp>,
    /// Records after it, other than checkpoints: nothing but the chain vouches for these.
    pub unsigned: u64,
    /// Time of the first of them.
    pub unsigned_since: Option<Timestamp>,
    /// Attempts without an outcome: still under way, or a crash came between. In order.
    pub open_attempts: Vec<RecordId>,
    /// Events that were lost while the log could not be written.
    pub lost: u64,
    /// How often the open log file was taken away and the log continued in another file.
    pub taken_away: u64,
    /// Hash of the last record.
    pub hash: Digest,
    /// The checkpoint head over all records.
    pub head: Digest,
}

/// The first thing wrong with a log, and where.
#[derive(Debug, thiserror::Error)]
#[error("file {file}, line {line}: {fault}")]
pub struct VerifyError {
    /// The file, from 1.
    pub file: usize,
    /// The line in it, from 1; the last one where the fault is that more should follow.
    pub line: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not what the writer wrote there.
    #[error(transparent)]
    Line(#[from] LineFault),
    /// There is no record.
    #[error("there is no record; the log is empty or missing")]
    Empty,
    /// The first file is not the log's first.
    #[error("{0} records come before this file; give the older files too, or allow a partial log")]
    MissingStart(u64),
    /// A file does not continue the one before.
    #[error(
        "this file does not continue the one before it: a file is missing, cut, or out of order"
    )]
    NotContinued,
    /// A record that begins a file stands elsewhere.
    #[error("a record that begins a log stands in the middle of one")]
    OpensAgain,
    /// A checkpoint is not the signer's.
    #[error("the checkpoint's signature is not the signer's")]
    ForeignCheckpoint,
    /// A checkpoint is of another log.
    #[error("the checkpoint is of another log, {0}")]
    OtherLog(RecordId),
    /// A checkpoint's head is not that of the records.
    #[error(
        "the signer countersigned other records: something among the first {0} was changed and the chain after it recomputed"
    )]
    Rewritten(u64),
    /// A checkpoint covers records that come after it, or fewer than the one before.
    #[error("the checkpoint covers {count} records, which is impossible at this place")]
    MisplacedCheckpoint {
        /// Records that it covers.
        count: u64,
    },
    /// Countersigned records are missing.
    #[error("{signed} records were countersigned, only {present} are present: the end was cut off")]
    Truncated {
        /// Records covered by a checkpoint.
        signed: u64,
        /// Records found.
        present: u64,
    },
    /// An outcome answers nothing.
    #[error("{event} answers no earlier attempt: something took effect without a recorded attempt")]
    NoAttempt {
        /// The outcome's event.
        event: Event,
    },
}

/// Checks the files of a log, oldest first (see [`log_files`](crate::log_files)).
///
/// # Errors
/// The first fault, with its place.
pub fn verify<R: BufRead>(
    files: impl IntoIterator<Item = R>,
    ca: &PublicKey,
    options: &VerifyOptions,
) -> Result<Report, VerifyError> {
    let mut state = State::new(ca, options);
    let mut place = (0, 0);
    let outcome = (|| {
        for file in files {
            place = (place.0 + 1, 0);
            let mut lines = Lines::new(file);
            loop {
                place.1 += 1;
                match lines.read_next()? {
                    NextLine::Line(text) => state.line(&Line::split(text)?, place.1 == 1)?,
                    NextLine::TooLong => return Err(LineFault::TooLong.into()),
                    NextLine::Torn => return Err(LineFault::Unterminated.into()),
                    NextLine::End => break,
                }
            }
            place.1 -= 1;
        }
        state.finish()
    })();
    outcome.map_err(|fault| VerifyError {
        file: place.0,
        line: place.1,
        fault,
    })
}

struct State<'a> {
    ca: &'a PublicKey,
    partial: bool,
    /// Shipped checkpoints that are still ahead, the nearest last.
    shipped: Vec<&'a Checkpoint>,
    bad_shipped: bool,
    chain: Option<Chain>,
    checkpoints: u64,
    /// What the log's own last checkpoint covers, and when it was signed.
    signed: Option<(u64, Timestamp)>,
    /// The same of the last shipped one that was reached.
    shipped_signed: Option<(u64, Timestamp)>,
    /// Heads and times of the records behind the last checkpoint; those of checkpoints without a time.
    behind: VecDeque<(Digest, Option<Timestamp>)>,
    open: HashMap<RecordId, (u64, Event)>,
    lost: u64,
    taken_away: u64,
}

/// How far the chain was followed.
struct Chain {
    unseen: u64,
    fold: Fold,
    hash: Digest,
    /// Records before the first one in `behind`.
    behind_from: u64,
    /// The head over them.
    behind_head: Digest,
}

impl<'a> State<'a> {
    fn new(ca: &'a PublicKey, options: &'a VerifyOptions) -> Self {
        let mut shipped: Vec<_> = options.shipped.iter().collect();
        shipped.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.count));
        let bad_shipped = shipped
            .iter()
            .any(|checkpoint| checkpoint.verify(ca).is_err());
        Self {
            ca,
            partial: options.partial,
            shipped,
            bad_shipped,
            chain: None,
            checkpoints: 0,
            signed: None,
            shipped_signed: None,
            behind: VecDeque::new(),
            open: HashMap::new(),
            lost: 0,
            taken_away: 0,
        }
    }

    fn line(&mut self, line: &Line<'_>, first_in_file: bool) -> Result<(), Fault> {
        if first_in_file {
            self.begin_file(line)?;
        }
        let Some(chain) = &mut self.chain else {
            return Err(Fault::Empty);
        };
        line.check(chain.hash)?;
        let record: Record = line.parse()?;
        if record.log.is_some() != first_in_file {
            return Err(Fault::OpensAgain);
        }
        chain.hash = line.hash();
        chain.fold.push(line.hash());
        let time = (record.event != Event::Checkpoint).then_some(record.time);
        self.behind.push_back((chain.fold.head(), time));
        let reached = chain.fold.count();
        self.compare_shipped(reached)?;
        self.attempts(&record, reached)?;
        self.checkpoint(&record, reached)?;
        if record.event == Event::AuditGap {
            let lost = record.detail.get("lost").and_then(|n| n.parse().ok());
            self.lost += lost.unwrap_or(1u64);
        }
        let continued = record.event == Event::LogContinued;
        self.taken_away += u64::from(continued && record.detail.get(TAKEN_AWAY).is_some());
        Ok(())
    }

    fn begin_file(&mut self, line: &Line<'_>) -> Result<(), Fault> {
        let link = files::opening(line)?;
        // Its own hash is checked before what it says counts.
        line.check(link.previous)?;
        if let Some(chain) = &self.chain {
            let fold = chain.fold;
            let continues = link.log == fold.log()
                && (link.count, link.head) == (fold.count(), fold.head())
                && link.previous == chain.hash;
            return if continues {
                Ok(())
            } else {
                Err(Fault::NotContinued)
            };
        }
        if self.bad_shipped {
            return Err(Fault::ForeignCheckpoint);
        }
        if let Some(other) = self.shipped.iter().find(|c| c.log != link.log) {
            return Err(Fault::OtherLog(other.log));
        }
        if link.count > 0 && !self.partial {
            return Err(Fault::MissingStart(link.count));
        }
        // Those that cover nothing but unseen records say nothing here.
        self.shipped
            .retain(|checkpoint| checkpoint.count > link.count);
        self.chain = Some(Chain {
            unseen: link.count,
            fold: Fold::resume(link.log, link.count, link.head),
            hash: link.previous,
            behind_from: link.count,
            behind_head: link.head,
        });
        Ok(())
    }

    /// Says how far the signer has seen the log, and nothing of what the log's own checkpoints may cover: the record
    /// of an earlier one may stand behind all that a later one covers.
    fn compare_shipped(&mut self, reached: u64) -> Result<(), Fault> {
        let head = self.chain.as_ref().map(|chain| chain.fold.head());
        while let Some(shipped) = self.shipped.pop_if(|next| next.count == reached) {
            if head != Some(shipped.head) {
                return Err(Fault::Rewritten(shipped.count));
            }
            self.shipped_signed = Some((shipped.count, shipped.time));
        }
        Ok(())
    }

    fn checkpoint(&mut self, record: &Record, reached: u64) -> Result<(), Fault> {
        if record.event != Event::Checkpoint {
            return Ok(());
        }
        let Some(checkpoint) = record.checkpoint.as_deref() else {
            return Err(LineFault::NotARecord("a checkpoint without its content".into()).into());
        };
        checkpoint
            .verify(self.ca)
            .map_err(|_| Fault::ForeignCheckpoint)?;
        self.checkpoints += 1;
        if checkpoint.count >= reached {
            return Err(Fault::MisplacedCheckpoint {
                count: checkpoint.count,
            });
        }
        let unseen = self.chain.as_ref().map_or(0, |chain| chain.unseen);
        if checkpoint.count < unseen {
            return Ok(());
        }
        self.accept(checkpoint)
    }

    /// Compares a checkpoint, whose signature is good, with the records that were seen.
    fn accept(&mut self, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let Some(chain) = &mut self.chain else {
            return Err(Fault::Empty);
        };
        if checkpoint.log != chain.fold.log() {
            return Err(Fault::OtherLog(checkpoint.log));
        }
        let Some(covered) = checkpoint.count.checked_sub(chain.behind_from) else {
            return Err(Fault::MisplacedCheckpoint {
                count: checkpoint.count,
            });
        };
        let covered = usize::try_from(covered).unwrap_or(usize::MAX);
        let last = covered.checked_sub(1).map(|at| self.behind.get(at));
        let head = match last {
            None => chain.behind_head,
            Some(Some((head, _))) => *head,
            Some(None) => {
                return Err(Fault::MisplacedCheckpoint {
                    count: checkpoint.count,
                });
            }
        };
        if head != checkpoint.head {
            return Err(Fault::Rewritten(checkpoint.count));
        }
        self.behind.drain(..covered);
        (chain.behind_from, chain.behind_head) = (checkpoint.count, head);
        self.signed = Some((checkpoint.count, checkpoint.time));
        Ok(())
    }

    /// An outcome closes the attempt that it names, once.
    fn attempts(&mut self, record: &Record, number: u64) -> Result<(), Fault> {
        let event = record.event;
        if event.is_attempt() {
            self.open.insert(record.id, (number, event));
        }
        let closed = record
            .attempt
            .and_then(|attempt| self.open.remove(&attempt));
        let answers = match (record.attempt, closed) {
            (None, _) => !event.needs_attempt(),
            (Some(_), Some((_, attempt))) => event.attempt() == Some(attempt),
            // It may stand in a file that is not here.
            (Some(_), None) => self.chain.as_ref().is_some_and(|chain| chain.unseen > 0),
        };
        if answers {
            Ok(())
        } else {
            Err(Fault::NoAttempt { event })
        }
    }

    fn finish(mut self) -> Result<Report, Fault> {
        if self.bad_shipped {
            return Err(Fault::ForeignCheckpoint);
        }
        let Some(chain) = self.chain else {
            return Err(Fault::Empty);
        };
        if let Some(missing) = self.shipped.first() {
            return Err(Fault::Truncated {
                signed: missing.count,
                present: chain.fold.count(),
            });
        }
        let mut open: Vec<_> = self
            .open
            .drain()
            .map(|(id, (number, _))| (number, id))
            .collect();
        open.sort_unstable();
        let signed = self.signed.max(self.shipped_signed);
        let covered = signed.map_or(0, |(count, _)| count.saturating_sub(chain.behind_from));
        let covered = usize::try_from(covered).unwrap_or(usize::MAX);
        let mut tail = self
            .behind
            .iter()
            .skip(covered)
            .filter_map(|(_, time)| *time);
        Ok(Report {
            log: chain.fold.log(),
            unseen: chain.unseen,
            records: chain.fold.count(),
            checkpoints: self.checkpoints,
            signed: signed.map_or(0, |(count, _)| count),
            signed_at: signed.map(|(_, time)| time),
            unsigned_since: tail.clone().next(),
            unsigned: tail.by_ref().count() as u64,
            open_attempts: open.into_iter().map(|(_, id)| id).collect(),
            lost: self.lost,
            taken_away: self.taken_away,
            hash: chain.hash,
            head: chain.fold.head(),
        })
    }
}
