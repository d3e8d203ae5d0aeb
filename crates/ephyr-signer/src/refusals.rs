//! Aggregates refusals for the journal: the first of a kind is written at once, repetitions later as a count, so that
//! a broker that sends forbidden requests at a high rate cannot fill the disk.

use std::collections::BTreeMap;
use std::time::Duration;

use ephyr_names::{AgentName, RoleName, TargetName};
use ephyr_signer_ipc::ErrorCode;

/// Delay from the last entry of a kind to the entry that counts its repetitions.
const INTERVAL: Duration = Duration::from_secs(10);

/// Maximum number of kinds; refusals of further kinds are counted by code alone.
const MAX_KINDS: usize = 64;

/// The fields by which refusals are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RefusalKind {
    pub(crate) code: RefusalCode,
    pub(crate) agent: Option<AgentName>,
    pub(crate) target: Option<TargetName>,
    pub(crate) role: Option<RoleName>,
    pub(crate) uid: Option<u32>,
}

/// The reason of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RefusalCode {
    /// A request was refused with this code.
    Request(ErrorCode),
    /// A connection came from a user other than the broker.
    Stranger,
}

impl RefusalCode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Request(code) => code.as_str(),
            Self::Stranger => "stranger",
        }
    }
}

impl RefusalKind {
    pub(crate) fn of(code: ErrorCode) -> Self {
        Self::new(RefusalCode::Request(code))
    }

    fn new(code: RefusalCode) -> Self {
        Self {
            code,
            agent: None,
            target: None,
            role: None,
            uid: None,
        }
    }

    pub(crate) fn stranger(uid: u32) -> Self {
        Self {
            uid: Some(uid),
            ..Self::new(RefusalCode::Stranger)
        }
    }
}

/// The counts of refusals by kind.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    kinds: BTreeMap<RefusalKind, RefusalCount>,
}

#[derive(Debug)]
struct RefusalCount {
    written: Duration,
    unwritten: u32,
}

impl Refusals {
    /// Counts a refusal. Returns the kind if it must be written now.
    pub(crate) fn note(&mut self, kind: RefusalKind, now: Duration) -> Option<RefusalKind> {
        let kind = if self.kinds.len() < MAX_KINDS || self.kinds.contains_key(&kind) {
            kind
        } else {
            RefusalKind::new(kind.code)
        };
        if let Some(tally) = self.kinds.get_mut(&kind) {
            tally.unwritten = tally.unwritten.saturating_add(1);
            return None;
        }
        let tally = RefusalCount {
            written: now,
            unwritten: 0,
        };
        self.kinds.insert(kind.clone(), tally);
        Some(kind)
    }

    /// Takes the counts that are due; with `all`, every count.
    pub(crate) fn due(&mut self, now: Duration, all: bool) -> Vec<(RefusalKind, u32)> {
        let mut due = Vec::new();
        self.kinds.retain(|kind, tally| {
            if !all && now < tally.written + INTERVAL {
                return true;
            }
            let count = std::mem::take(&mut tally.unwritten);
            tally.written = now;
            if count > 0 {
                due.push((kind.clone(), count));
            }
            count > 0 && !all
        });
        due
    }

    /// Restores a count that could not be written.
    pub(crate) fn put_back(&mut self, kind: RefusalKind, count: u32, now: Duration) {
        let tally = self.kinds.entry(kind).or_insert(RefusalCount {
            written: now,
            unwritten: 0,
        });
        tally.unwritten = tally.unwritten.saturating_add(count);
    }

    /// Returns when the next count will be due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.kinds
            .values()
            .map(|tally| tally.written + INTERVAL)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Duration = Duration::from_secs(1000);

    #[test]
    fn first_refusal_is_written_at_once_repetitions_as_a_count() {
        let mut refusals = Refusals::default();
        let kind = RefusalKind::of(ErrorCode::NotGranted);
        assert_eq!(refusals.note(kind.clone(), BEGIN), Some(kind.clone()));
        for _ in 0..1000 {
            assert_eq!(refusals.note(kind.clone(), BEGIN), None);
        }
        assert!(
            refusals
                .due(BEGIN + Duration::from_secs(9), false)
                .is_empty()
        );
        let later = refusals.next_due().unwrap();
        assert_eq!(refusals.due(later, false), [(kind.clone(), 1000)]);
        assert!(refusals.due(later + INTERVAL, false).is_empty());
        assert_eq!(refusals.next_due(), None, "a quiet kind is forgotten");
        assert_eq!(refusals.note(kind.clone(), later + INTERVAL), Some(kind));
    }

    #[test]
    fn number_of_kinds_is_limited() {
        let mut refusals = Refusals::default();
        let mut written = 0;
        for uid in 0..10_000 {
            written += usize::from(refusals.note(RefusalKind::stranger(uid), BEGIN).is_some());
        }
        assert_eq!(written, MAX_KINDS + 1);
        let counted: u32 = refusals
            .due(BEGIN, true)
            .iter()
            .map(|(_, count)| count)
            .sum();
        assert_eq!(counted as usize + written, 10_000);
    }

    #[test]
    fn unwritten_count_is_restored() {
        let mut refusals = Refusals::default();
        let kind = RefusalKind::stranger(7);
        refusals.put_back(kind.clone(), 3, BEGIN);
        assert_eq!(refusals.due(BEGIN, true), [(kind, 3)]);
    }
}
