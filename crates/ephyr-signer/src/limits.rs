//! How many requests the broker may make: a sliding window per agent and one for all.

use std::collections::BTreeMap;
use std::time::Duration;

use ephyr_names::AgentName;
use ephyr_policy::{Policy, Rate, RateWindow};

/// The windows of the signer. Time is monotonic: since any fixed point.
#[derive(Debug)]
pub struct Limits {
    agents: BTreeMap<AgentName, RateWindow>,
    everyone: RateWindow,
    per_agent: Rate,
    checkpoints: RateWindow,
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
            everyone: RateWindow::new(policy.signer().global_rate_limit),
            per_agent: policy.signer().rate_limit,
            checkpoints: RateWindow::new(CHECKPOINTS),
        }
    }

    /// Goes on by another policy; windows whose rate did not change keep their counts.
    pub fn reload(&mut self, policy: &Policy) {
        let signer = policy.signer();
        if signer.global_rate_limit != self.everyone.rate() {
            self.everyone = RateWindow::new(signer.global_rate_limit);
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
            window.or_insert_with(|| RateWindow::new(per_agent))
        });
        if let Some(window) = &mut own
            && !window.has_room(now)
        {
            return Err(Exceeded::Agent(per_agent));
        }
        if !self.everyone.has_room(now) {
            return Err(Exceeded::Everyone(self.everyone.rate()));
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
