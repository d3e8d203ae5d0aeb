//! Rate limits on the broker's requests: one sliding window per agent and one for all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use ephyr_names::AgentName;
use ephyr_policy::{Policy, Rate, RateWindow};

/// The signer's rate windows. Times are monotonic, since any fixed point.
#[derive(Debug)]
pub struct Limits {
    agents: BTreeMap<AgentName, RateWindow>,
    everyone: RateWindow,
    per_agent: Rate,
    checkpoints: RateWindow,
}

/// Limit for checkpoints. A busy broker sends one per thousand records; each adds a line to the journal.
const CHECKPOINTS: Rate = Rate {
    count: 1200,
    window: ephyr_names::Ttl::from_secs(60),
};

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// The limit of one agent.
    Agent(Rate),
    /// A limit on all requests together.
    Everyone(Rate),
}

impl Limits {
    /// Returns empty windows with this policy's rates.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self {
            agents: BTreeMap::new(),
            everyone: RateWindow::new(policy.signer().global_rate_limit),
            per_agent: policy.signer().rate_limit,
            checkpoints: RateWindow::new(CHECKPOINTS),
        }
    }

    /// Applies a new policy. Windows whose rate did not change keep their counts.
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

    /// Counts a request, and also in the agent's window if the agent is given. The later decision makes no
    /// difference.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] if a limit is reached; then nothing is counted.
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

    /// Counts a checkpoint. Checkpoints have a window of their own so that agents' requests cannot delay the audit
    /// log.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] if the limit is reached.
    pub fn admit_checkpoint(&mut self, now: Duration) -> Result<(), Exceeded> {
        if !self.checkpoints.has_room(now) {
            return Err(Exceeded::Everyone(CHECKPOINTS));
        }
        self.checkpoints.count(now);
        Ok(())
    }
}
