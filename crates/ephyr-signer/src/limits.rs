//! How many requests the broker may make: a sliding window per agent and one for all.

use std::collections::BTreeMap;
use std::time::Duration;

use ephyr_names::AgentName;
use ephyr_policy::{Policy, Rate};

/// A window is cut into so many slices. One more is counted, so that no stretch of a window's length
/// ever has more than the rate's count, wherever it begins.
const SLICES: usize = 32;

/// Counts in a sliding window, in constant memory.
#[derive(Debug, Clone)]
pub struct Window {
    rate: Rate,
    counts: [u32; SLICES + 1],
    /// The number of the newest slice since the clock's beginning.
    newest: u64,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            counts: [0; SLICES + 1],
            newest: 0,
        }
    }

    /// Whether one more fits now.
    pub fn has_room(&mut self, now: Duration) -> bool {
        self.advance(now);
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        total < u64::from(self.rate.count)
    }

    /// Counts one.
    pub fn count(&mut self, now: Duration) {
        self.advance(now);
        let slot = &mut self.counts[slot(self.newest)];
        *slot = slot.saturating_add(1);
    }

    /// Empties the slices that time has passed over. A clock that stands still is no harm.
    fn advance(&mut self, now: Duration) {
        let slice = self.rate.window.as_millis().div_ceil(SLICES as u64).max(1);
        let current = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / slice;
        let passed = current.saturating_sub(self.newest).min(SLICES as u64 + 1);
        for step in 1..=passed {
            self.counts[slot(current - (passed - step))] = 0;
        }
        self.newest = self.newest.max(current);
    }
}

fn slot(slice: u64) -> usize {
    usize::try_from(slice % (SLICES as u64 + 1)).unwrap_or(0)
}

/// The windows of the signer. Time is monotonic: since any fixed point.
#[derive(Debug)]
pub struct Limits {
    agents: BTreeMap<AgentName, Window>,
    everyone: Window,
    per_agent: Rate,
    checkpoints: Window,
}

/// A busy broker sends one a thousand records; each costs a line in the journal.
const CHECKPOINTS: Rate = Rate {
    count: 1200,
    window: ephyr_names::Ttl::from_secs(60),
};

/// Whose limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// The agent's.
    Agent(Rate),
    /// That of all together.
    Everyone(Rate),
}

impl Limits {
    /// Empty windows by this policy.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self {
            agents: BTreeMap::new(),
            everyone: Window::new(policy.signer().global_rate_limit),
            per_agent: policy.signer().rate_limit,
            checkpoints: Window::new(CHECKPOINTS),
        }
    }

    /// Goes on by another policy; windows whose rate did not change keep their counts.
    pub fn reload(&mut self, policy: &Policy) {
        let signer = policy.signer();
        if signer.global_rate_limit != self.everyone.rate {
            self.everyone = Window::new(signer.global_rate_limit);
        }
        if signer.rate_limit != self.per_agent {
            self.per_agent = signer.rate_limit;
            self.agents.clear();
        }
        self.agents.retain(|name, _| policy.agent(name).is_some());
    }

    /// Counts a request, of this agent where the policy knows it. Whether it is granted later makes no
    /// difference.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] when there is no room; then nothing is counted.
    pub fn admit(&mut self, agent: Option<&AgentName>, now: Duration) -> Result<(), Exceeded> {
        let per_agent = self.per_agent;
        let mut own = agent.map(|name| {
            let window = self.agents.entry(name.clone());
            window.or_insert_with(|| Window::new(per_agent))
        });
        if let Some(window) = &mut own
            && !window.has_room(now)
        {
            return Err(Exceeded::Agent(per_agent));
        }
        if !self.everyone.has_room(now) {
            return Err(Exceeded::Everyone(self.everyone.rate));
        }
        if let Some(window) = own {
            window.count(now);
        }
        self.everyone.count(now);
        Ok(())
    }

    /// Counts a checkpoint, which has a window of its own: an audit log must not wait for agents.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] when there is no room.
    pub fn admit_checkpoint(&mut self, now: Duration) -> Result<(), Exceeded> {
        if !self.checkpoints.has_room(now) {
            return Err(Exceeded::Everyone(CHECKPOINTS));
        }
        self.checkpoints.count(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ephyr_names::Ttl;
    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate {
            count,
            window: Ttl::from_secs(seconds),
        }
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_windows_length_has_more_than_the_count(
            gaps in proptest::collection::vec(0..3000u64, 1..400),
            count in 1..20u32,
        ) {
            let mut window = Window::new(rate(count, 10));
            let mut now = 1_000_000;
            let mut admitted: Vec<u64> = Vec::new();
            for gap in gaps {
                now += gap;
                let at = Duration::from_millis(now);
                if window.has_room(at) {
                    window.count(at);
                    admitted.push(now);
                }
                let recent = admitted.iter().filter(|then| now - **then < 10_000).count();
                prop_assert!(recent <= count as usize);
            }
        }

        #[test]
        fn room_comes_back_after_a_window_and_a_slice(count in 1..50u32, begin in 0..1_000_000u64) {
            let mut window = Window::new(rate(count, 10));
            let begin = Duration::from_millis(begin);
            for _ in 0..count {
                prop_assert!(window.has_room(begin));
                window.count(begin);
            }
            prop_assert!(!window.has_room(begin));
            prop_assert!(!window.has_room(begin + Duration::from_secs(9)));
            prop_assert!(window.has_room(begin + Duration::from_millis(10_700)));
        }
    }
}
