//! Verifies a log offline with the CA's public key alone: the chain, the signer's countersignatures, and that every
//! effect has a recorded attempt.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead};

use ephyr_chain::{Checkpoint, Fold, Line, LineFault, Lines, NextLine};
use ephyr_names::{Digest, RecordId, Timestamp};
use ssh_key::PublicKey;

use crate::event::Event;
use crate::files;
use crate::record::{Record, TAKEN_AWAY};

/// Options of a verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Checkpoints kept elsewhere; the log must contain the records that they cover. Only they reveal a log whose end was
    /// cut off together with its last checkpoint.
    pub shipped: Vec<Checkpoint>,
    /// Whether the oldest files may be missing. Their records are then not verified.
    pub partial: bool,
}

/// The result of verifying an intact log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The log's id.
    pub log: RecordId,
    /// Number of records before the first given file, which were not verified; zero for a complete log.
    pub unseen: u64,
    /// Number of records in the log, including those before the first given file.
    pub records: u64,
    /// Number of checkpoints in the log.
    pub checkpoints: u64,
    /// Number of records that the last checkpoint covers, in the log or shipped.
    pub signed: u64,
    /// The time of that checkpoint.
    pub signed_at: Option<Timestamp>,
    /// Number of records after it, except checkpoints. Only the chain protects these.
    pub unsigned: u64,
    /// The time of the first unsigned record.
    pub unsigned_since: Option<Timestamp>,
    /// Attempts without an outcome, in order: they are still running, or a crash interrupted them.
    pub open_attempts: Vec<RecordId>,
    /// Number of events that were lost while the log could not be written.
    pub lost: u64,
    /// Number of times that the open log file was removed, renamed or replaced and the log continued in a new file.
    pub taken_away: u64,
    /// Hash of the last record.
    pub hash: Digest,
    /// The checkpoint head over all records.
    pub head: Digest,
}

/// The first fault in a log, and its place.
#[derive(Debug, thiserror::Error)]
#[error("file {file}, line {line}: {fault}")]
pub struct VerifyError {
    /// The file's number, from 1.
    pub file: usize,
    /// The line's number in the file, from 1; the last line if the fault is that records are missing at the end.
    pub line: u64,
    /// The fault.
    pub fault: Fault,
}

/// A fault in a log.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not as its writer left it.
    #[error(transparent)]
    Line(#[from] LineFault),
    /// The log contains no record.
    #[error("there are no records: the log is empty or missing")]
    Empty,
    /// The first file is not the log's first.
    #[error("{0} records come before this file; give the older files too, or allow a partial log")]
    MissingStart(u64),
    /// A file does not continue the previous one.
    #[error(
        "this file does not continue the one before it: a file is missing, cut, or out of order"
    )]
    NotContinued,
    /// The first record of a file is found inside a file.
    #[error("the first record of a log file is found inside a file")]
    OpensAgain,
    /// The signer did not sign a checkpoint.
    #[error("the checkpoint's signature is not the signer's")]
    ForeignCheckpoint,
    /// A checkpoint belongs to another log.
    #[error("the checkpoint belongs to another log, {0}")]
    OtherLog(RecordId),
    /// A checkpoint's head differs from the head over the log's records.
    #[error(
        "the signer countersigned other records: something among the first {0} was changed and the chain after it recomputed"
    )]
    Rewritten(u64),
    /// A checkpoint covers records after it, or fewer than the previous one.
    #[error("the checkpoint covers {count} records, which is impossible at this position")]
    MisplacedCheckpoint {
        /// Number of records that it covers.
        count: u64,
    },
    /// Countersigned records are missing.
    #[error("{signed} records were countersigned, only {present} are present: the end was cut off")]
    Truncated {
        /// Number of records covered by a checkpoint.
        signed: u64,
        /// Number of records found.
        present: u64,
    },
    /// An outcome has no earlier attempt.
    #[error("{event} has no earlier attempt: an action took effect without a recorded attempt")]
    NoAttempt {
        /// The outcome's event.
        event: Event,
    },
}

/// Verifies the files of a log, oldest first (see [`log_files`](crate::log_files)).
///
/// # Errors
/// The first fault, with its place.
pub fn verify<R: BufRead>(
    files: impl IntoIterator<Item = R>,
    ca: &PublicKey,
    options: &VerifyOptions,
) -> Result<Report, VerifyError> {
    let mut state = Verification::new(ca, options);
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

struct Verification<'a> {
    ca: &'a PublicKey,
    partial: bool,
    /// Shipped checkpoints not reached yet, the nearest last.
    shipped: Vec<&'a Checkpoint>,
    bad_shipped: bool,
    chain: Option<ChainState>,
    checkpoints: u64,
    /// The number of records that the log's own last checkpoint covers, and its time.
    signed: Option<(u64, Timestamp)>,
    /// The same for the last shipped checkpoint reached.
    shipped_signed: Option<(u64, Timestamp)>,
    /// Heads and times of the records after those that the last checkpoint covers; `None` for a checkpoint's time.
    behind: VecDeque<(Digest, Option<Timestamp>)>,
    open: HashMap<RecordId, (u64, Event)>,
    lost: u64,
    taken_away: u64,
}

/// The state of the chain at the current line.
struct ChainState {
    unseen: u64,
    fold: Fold,
    hash: Digest,
    /// Number of records before the first one in `behind`.
    behind_from: u64,
    /// The head over these records.
    behind_head: Digest,
}

impl<'a> Verification<'a> {
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
        // The line's own hash is checked before its content is used.
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
        // Checkpoints that cover only unseen records cannot be compared.
        self.shipped
            .retain(|checkpoint| checkpoint.count > link.count);
        self.chain = Some(ChainState {
            unseen: link.count,
            fold: Fold::resume(link.log, link.count, link.head),
            hash: link.previous,
            behind_from: link.count,
            behind_head: link.head,
        });
        Ok(())
    }

    /// Compares the shipped checkpoints that cover the first `reached` records. Does not restrict the log's own
    /// checkpoints: the record of an earlier one may follow all records that a later one covers.
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

    /// Compares a checkpoint with a valid signature with the records read so far.
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

    /// Tracks open attempts. An outcome closes the attempt that it names, once.
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
            // The attempt may be in a file that was not given.
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
