//! Limits per agent: the policy's request rate, and one walk through a task tree at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ephyr_names::{AgentName, Timestamp};
use ephyr_policy::{Rate, RateWindow};
use tokio::sync::OwnedMutexGuard;

/// The limits of every agent that has sent a request.
#[derive(Default)]
pub struct AgentLimits {
    // Only agents of the policy are inserted, which bounds the map.
    agents: Mutex<HashMap<AgentName, AgentUsage>>,
}

#[derive(Default)]
struct AgentUsage {
    requests: Option<RateWindow>,
    walk: Arc<tokio::sync::Mutex<()>>,
}

impl AgentLimits {
    fn with<R>(&self, agent: &AgentName, use_limits: impl FnOnce(&mut AgentUsage) -> R) -> R {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        use_limits(agents.entry(agent.clone()).or_default())
    }

    /// Waits until no other walk through the agent's task trees runs, since each occupies a thread that other agents
    /// need. The guard must be held for the whole walk, even if the request is cancelled.
    pub async fn walk(&self, agent: &AgentName) -> OwnedMutexGuard<()> {
        let walk = self.with(agent, |usage| Arc::clone(&usage.walk));
        walk.lock_owned().await
    }

    /// Counts one request of the agent against the policy's rate, if there is one.
    ///
    /// # Errors
    /// The seconds to wait, at least 1.
    pub fn count_request(
        &self,
        agent: &AgentName,
        rate: Option<Rate>,
        now: Timestamp,
    ) -> Result<(), u32> {
        let Some(rate) = rate else { return Ok(()) };
        self.with(agent, |usage| {
            // After a reload with another rate, counting restarts.
            let window = usage.requests.take().filter(|window| window.rate() == rate);
            let window = usage
                .requests
                .insert(window.unwrap_or_else(|| RateWindow::new(rate)));
            try_take(window, now)
        })
    }
}

/// Counts one request in a window, by the wall clock.
///
/// # Errors
/// The seconds to wait, at least 1.
pub fn try_take(window: &mut RateWindow, now: Timestamp) -> Result<(), u32> {
    let millis = u64::try_from(now.unix_millis()).unwrap_or(0);
    window
        .try_take(Duration::from_millis(millis))
        .map_err(|wait| {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            u32::try_from(seconds).unwrap_or(u32::MAX)
        })
}

#[cfg(test)]
mod tests {
    use ephyr_names::Ttl;

    use super::*;

    fn agent(name: &str) -> AgentName {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn walks_of_one_agent_run_one_at_a_time() {
        let limits = AgentLimits::default();
        let (a, b) = (agent("a"), agent("b"));
        let soon = Duration::from_millis(1);
        let first = limits.walk(&a).await;
        let second = tokio::time::timeout(soon, limits.walk(&a)).await;
        assert!(second.is_err(), "the second walk did not wait");
        let _others = limits.walk(&b).await;
        drop(first);
        let _second = limits.walk(&a).await;
    }

    #[test]
    fn request_rate_is_per_agent_and_follows_a_reload() {
        let limits = AgentLimits::default();
        let now = Timestamp::from_unix_seconds(1_000);
        let rate = |count| {
            Some(Rate {
                count,
                window: Ttl::from_secs(60),
            })
        };
        let (a, b) = (agent("a"), agent("b"));
        assert_eq!(limits.count_request(&a, rate(2), now), Ok(()));
        assert_eq!(limits.count_request(&a, rate(2), now), Ok(()));
        // The window and the rest of the slice in which the request was counted.
        assert_eq!(limits.count_request(&a, rate(2), now), Err(62));
        let last = now.after(Ttl::from_secs(61));
        assert_eq!(limits.count_request(&a, rate(2), last), Err(1));
        assert_eq!(limits.count_request(&b, rate(2), now), Ok(()));
        assert_eq!(
            limits.count_request(&a, rate(3), now),
            Ok(()),
            "a new rate restarts the count"
        );
        assert_eq!(limits.count_request(&a, None, now), Ok(()));
    }
}
