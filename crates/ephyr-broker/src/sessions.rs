//! Sessions of the Unix-socket API: a token that an agent may present besides its UID, how often it may ask,
//! and that it asks for no two walks through its tasks at once. One session an agent; each ends by itself.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use ephyr_core::ids;
use ephyr_names::{AgentName, Digest, Timestamp, Ttl};
use ephyr_policy::{Rate, RateWindow};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::OwnedMutexGuard;
use zeroize::Zeroizing;

use crate::auth::throttle::try_take;

/// How long a session lives.
const LIFE: Ttl = Ttl::from_secs(8 * 3600);

/// The sessions.
#[derive(Default)]
pub struct Sessions {
    agents: Mutex<HashMap<AgentName, Agent>>,
}

#[derive(Default)]
struct Agent {
    /// SHA-256 of the token, and when it ends.
    session: Option<(Digest, Timestamp)>,
    turns: Option<RateWindow>,
    walk: Arc<tokio::sync::Mutex<()>>,
}

/// A session just opened.
pub struct Opened {
    /// The token: 64 hexadecimal digits of 256 random bits.
    pub token: Zeroizing<String>,
    /// When it ends.
    pub expires: Timestamp,
}

impl Sessions {
    fn with<R>(&self, agent: &AgentName, look: impl FnOnce(&mut Agent) -> R) -> R {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        // Only agents of the policy come here, so the map is no larger than the policy was over time.
        look(agents.entry(agent.clone()).or_default())
    }

    /// Opens a session; the agent's former one is over.
    pub fn open(&self, agent: &AgentName, now: Timestamp) -> Opened {
        let mut token = Zeroizing::new(String::with_capacity(64));
        for byte in Zeroizing::new(ids::random::<32>()).iter() {
            let _ = write!(token, "{byte:02x}");
        }
        let expires = now.after(LIFE);
        self.with(agent, |known| {
            known.session = Some((digest(token.as_bytes()), expires));
        });
        Opened { token, expires }
    }

    /// Whether this is the token of the agent's session.
    #[must_use]
    pub fn accepts(&self, agent: &AgentName, token: &[u8], now: Timestamp) -> bool {
        let digest = digest(token);
        self.with(agent, |known| {
            known
                .session
                .is_some_and(|(own, expires)| now < expires && own.0.ct_eq(&digest.0).into())
        })
    }

    /// When the agent's session ends, if it has one.
    #[must_use]
    pub fn expiry(&self, agent: &AgentName, now: Timestamp) -> Option<Timestamp> {
        self.with(agent, |known| known.session.map(|(_, expires)| expires))
            .filter(|expires| now < *expires)
    }

    /// Waits until no other walk through the agent's tasks runs: one keeps a thread busy, and others want
    /// theirs. Whoever walks keeps what this gives, also where nobody waits for the answer any more.
    pub async fn walk(&self, agent: &AgentName) -> OwnedMutexGuard<()> {
        let walk = self.with(agent, |known| Arc::clone(&known.walk));
        walk.lock_owned().await
    }

    /// Counts one request of the agent against the policy's rate.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn take_turn(
        &self,
        agent: &AgentName,
        rate: Option<Rate>,
        now: Timestamp,
    ) -> Result<(), u32> {
        let Some(rate) = rate else { return Ok(()) };
        self.with(agent, |known| {
            // After a reload with another rate, counting starts anew.
            let window = known.turns.take().filter(|window| window.rate() == rate);
            let window = known
                .turns
                .insert(window.unwrap_or_else(|| RateWindow::new(rate)));
            try_take(window, now)
        })
    }
}

fn digest(token: &[u8]) -> Digest {
    Digest(Sha256::digest(token).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str) -> AgentName {
        name.parse().unwrap()
    }

    #[test]
    fn w37_a_session_ends_by_itself_and_with_the_next_one() {
        let sessions = Sessions::default();
        let (claude, now) = (agent("claude"), Timestamp::from_unix_seconds(1_000));
        let first = sessions.open(&claude, now);
        assert!(sessions.accepts(&claude, first.token.as_bytes(), now));
        assert!(!sessions.accepts(&agent("other"), first.token.as_bytes(), now));
        assert!(!sessions.accepts(&claude, b"guess", now));
        assert!(!sessions.accepts(&claude, first.token.as_bytes(), first.expires));
        assert_eq!(sessions.expiry(&claude, first.expires), None);
        let second = sessions.open(&claude, now);
        assert!(!sessions.accepts(&claude, first.token.as_bytes(), now));
        assert!(sessions.accepts(&claude, second.token.as_bytes(), now));
    }

    #[tokio::test]
    async fn an_agents_walks_wait_for_each_other_and_for_no_other_agents() {
        let sessions = Sessions::default();
        let (a, b) = (agent("a"), agent("b"));
        let soon = std::time::Duration::from_millis(1);
        let first = sessions.walk(&a).await;
        let second = tokio::time::timeout(soon, sessions.walk(&a)).await;
        assert!(second.is_err(), "it waits");
        let _others = sessions.walk(&b).await;
        drop(first);
        let _second = sessions.walk(&a).await;
    }

    #[test]
    fn each_agent_has_a_rate_of_its_own_that_a_reload_changes() {
        let sessions = Sessions::default();
        let now = Timestamp::from_unix_seconds(1_000);
        let rate = |count| {
            Some(Rate {
                count,
                window: Ttl::from_secs(60),
            })
        };
        let (a, b) = (agent("a"), agent("b"));
        assert_eq!(sessions.take_turn(&a, rate(2), now), Ok(()));
        assert_eq!(sessions.take_turn(&a, rate(2), now), Ok(()));
        // The window and what is left of the slice that it was counted in.
        assert_eq!(sessions.take_turn(&a, rate(2), now), Err(62));
        let last = now.after(Ttl::from_secs(61));
        assert_eq!(sessions.take_turn(&a, rate(2), last), Err(1));
        assert_eq!(sessions.take_turn(&b, rate(2), now), Ok(()));
        assert_eq!(
            sessions.take_turn(&a, rate(3), now),
            Ok(()),
            "new rate, new count"
        );
        assert_eq!(sessions.take_turn(&a, None, now), Ok(()));
    }
}
