//! Refusals for the journal: each kind at once, its repetitions as a count. A broker that asks for the
//! forbidden a thousand times a second must not fill the disk by it.

use std::collections::BTreeMap;
use std::time::Duration;

use ephyr_names::{AgentName, RoleName, TargetName};
use ephyr_signer_ipc::ErrorCode;

/// Repetitions are written this long after the kind was last written.
const INTERVAL: Duration = Duration::from_secs(10);

/// Kinds told apart at one time; more than these are counted under their code alone.
const MOST_KINDS: usize = 64;

/// What makes two refusals the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) code: Code,
    pub(crate) agent: Option<AgentName>,
    pub(crate) target: Option<TargetName>,
    pub(crate) role: Option<RoleName>,
    pub(crate) uid: Option<u32>,
}

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    /// A request, with this code.
    Request(ErrorCode),
    /// A connection of a user who is not the broker.
    Stranger,
}

impl Code {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Request(code) => code.as_str(),
            Self::Stranger => "stranger",
        }
    }
}

impl Kind {
    pub(crate) fn of(code: ErrorCode) -> Self {
        Self::new(Code::Request(code))
    }

    fn new(code: Code) -> Self {
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
            ..Self::new(Code::Stranger)
        }
    }
}

/// Refusals that were counted and not written yet.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    kinds: BTreeMap<Kind, Tally>,
}

#[derive(Debug)]
struct Tally {
    written: Duration,
    unwritten: u32,
}

impl Refusals {
    /// Counts one; gives the kind when it must be written now.
    pub(crate) fn note(&mut self, kind: Kind, now: Duration) -> Option<Kind> {
        let kind = if self.kinds.len() < MOST_KINDS || self.kinds.contains_key(&kind) {
            kind
        } else {
            Kind::new(kind.code)
        };
        if let Some(tally) = self.kinds.get_mut(&kind) {
            tally.unwritten = tally.unwritten.saturating_add(1);
            return None;
        }
        let tally = Tally {
            written: now,
            unwritten: 0,
        };
        self.kinds.insert(kind.clone(), tally);
        Some(kind)
    }

    /// Takes what is due by now; `all` takes everything, whatever its time.
    pub(crate) fn due(&mut self, now: Duration, all: bool) -> Vec<(Kind, u32)> {
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

    /// Counts again what was taken and could not be written.
    pub(crate) fn put_back(&mut self, kind: Kind, count: u32, now: Duration) {
        let tally = self.kinds.entry(kind).or_insert(Tally {
            written: now,
            unwritten: 0,
        });
        tally.unwritten = tally.unwritten.saturating_add(count);
    }

    /// When something will be due.
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
    fn the_first_is_written_at_once_and_the_others_as_a_count() {
        let mut refusals = Refusals::default();
        let kind = Kind::of(ErrorCode::NotGranted);
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
    fn ever_new_kinds_end_in_one() {
        let mut refusals = Refusals::default();
        let mut written = 0;
        for uid in 0..10_000 {
            written += usize::from(refusals.note(Kind::stranger(uid), BEGIN).is_some());
        }
        assert_eq!(written, MOST_KINDS + 1);
        let counted: u32 = refusals
            .due(BEGIN, true)
            .iter()
            .map(|(_, count)| count)
            .sum();
        assert_eq!(counted as usize + written, 10_000);
    }

    #[test]
    fn what_could_not_be_written_is_counted_again() {
        let mut refusals = Refusals::default();
        let kind = Kind::stranger(7);
        refusals.put_back(kind.clone(), 3, BEGIN);
        assert_eq!(refusals.due(BEGIN, true), [(kind, 3)]);
    }
}
