//! API keys of agents that live elsewhere: `eph_<agent>_<random>`, so that one bcrypt comparison suffices.
//!
//! A success is remembered under SHA-256(key) for a minute. bcrypt runs off the async threads, a few at a
//! time and within a budget: whoever tries keys waits, and whoever holds a good key does not notice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ephyr_core::limits::try_take;
use ephyr_names::{AgentName, Digest, Timestamp, Ttl};
use ephyr_policy::{Rate, RateWindow};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// How long a success is remembered.
const CACHE_MILLIS: i64 = 60_000;
/// How long a key that was good once goes before strangers in the queue for bcrypt.
const TRUSTED_MILLIS: i64 = 3_600_000;
/// Entries kept at once; more than there can be agents in a policy of sane size.
const CACHE_ENTRIES: usize = 4096;
/// bcrypt comparisons at once.
const CONCURRENT: usize = 1;
/// Comparisons of keys that were never good.
const STRANGERS: Rate = Rate {
    count: 8,
    window: Ttl::from_secs(4),
};

/// A bcrypt hash. It is a credential: it is neither shown nor compared as text.
#[derive(Clone)]
pub struct KeyHash(Arc<Zeroizing<String>>);

/// The text is no bcrypt hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a bcrypt hash such as `ephyr keys new` prints ($2b$10$…)")]
pub struct KeyHashError;

impl KeyHash {
    /// Takes a hash as the policy or a credential gives it.
    ///
    /// # Errors
    /// When it is not a bcrypt hash.
    pub fn new(text: &str) -> Result<Self, KeyHashError> {
        let text = text.trim();
        text.parse::<bcrypt::HashParts>()
            .map_err(|_| KeyHashError)?;
        Ok(Self(Arc::new(Zeroizing::new(text.to_owned()))))
    }
}

/// Why a key was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefused {
    /// It is nobody's key.
    Wrong,
    /// Too many keys are being tried; after this many seconds there is room.
    Busy(u32),
}

/// Checks API keys.
pub struct Keys {
    known: Mutex<Known>,
    running: Semaphore,
}

struct Known {
    good: HashMap<Digest, Good>,
    strangers: RateWindow,
    /// How often everyone was forgotten: what was compared with a hash of before is not remembered.
    forgotten: u64,
}

struct Good {
    agent: AgentName,
    checked: Timestamp,
    /// What [`Known::forgotten`] was when its agent's hash was looked up.
    forgotten: u64,
}

/// What is known of a key before it is compared.
enum Cached {
    /// It was compared within the last minute.
    Fresh(AgentName),
    /// It was good once, and not long ago.
    Trusted,
    /// Nothing.
    Stranger,
}

impl Default for Keys {
    /// Knows no key yet.
    fn default() -> Self {
        Self {
            known: Mutex::new(Known {
                good: HashMap::new(),
                strangers: RateWindow::new(STRANGERS),
                forgotten: 0,
            }),
            running: Semaphore::new(CONCURRENT),
        }
    }
}

impl Keys {
    /// After a reload each key is compared anew. One that was good goes before strangers still: whoever tries
    /// keys meanwhile does not keep out those who hold one.
    pub fn forget(&self) {
        self.known().forgotten += 1;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose key it is. `hash_of` gives an agent's hash in the policy that is in force when it is called.
    ///
    /// # Errors
    /// [`KeyRefused`], without a hint whether it was the agent or the key: an agent without a key costs
    /// what a wrong key costs.
    pub async fn check(
        &self,
        key: &str,
        now: Timestamp,
        hash_of: impl Fn(&AgentName) -> Option<KeyHash>,
    ) -> Result<AgentName, KeyRefused> {
        let digest = Digest(Sha256::digest(key.as_bytes()).into());
        if let Cached::Fresh(agent) = self.cached(digest, now) {
            return Ok(agent);
        }
        let agent = named_agent(key).ok_or(KeyRefused::Wrong)?;
        // Before the hash is looked up: a reload in between then shows.
        let forgotten = self.known().forgotten;
        let own = hash_of(&agent);
        let (has_key, hash) = (own.is_some(), own.unwrap_or_else(nobodys_hash));
        let Ok(_running) = self.running.acquire().await else {
            return Err(KeyRefused::Busy(1));
        };
        // Whoever waited behind a comparison of the same key needs none of its own.
        match self.cached(digest, now) {
            Cached::Fresh(agent) => return Ok(agent),
            Cached::Trusted => {}
            Cached::Stranger => {
                let taken = try_take(&mut self.known().strangers, now);
                taken.map_err(KeyRefused::Busy)?;
            }
        }
        let key = Zeroizing::new(key.to_owned());
        let compared = tokio::task::spawn_blocking(move || {
            bcrypt::non_truncating_verify(key.as_bytes(), &hash.0).unwrap_or(false)
        });
        if !compared.await.unwrap_or(false) || !has_key {
            // It was good before a reload, if ever.
            self.known().good.remove(&digest);
            return Err(KeyRefused::Wrong);
        }
        self.remember(digest, agent.clone(), now, forgotten);
        Ok(agent)
    }

    fn cached(&self, digest: Digest, now: Timestamp) -> Cached {
        let known = self.known();
        match known.good.get(&digest) {
            Some(good) if good.forgotten == known.forgotten && fresh(good, now, CACHE_MILLIS) => {
                Cached::Fresh(good.agent.clone())
            }
            Some(good) if fresh(good, now, TRUSTED_MILLIS) => Cached::Trusted,
            _ => Cached::Stranger,
        }
    }

    fn remember(&self, digest: Digest, agent: AgentName, now: Timestamp, forgotten: u64) {
        let mut known = self.known();
        if known.good.len() >= CACHE_ENTRIES {
            known.good.retain(|_, good| fresh(good, now, CACHE_MILLIS));
        }
        if known.good.len() < CACHE_ENTRIES {
            known.good.insert(
                digest,
                Good {
                    agent,
                    checked: now,
                    forgotten,
                },
            );
        }
    }
}

fn fresh(good: &Good, now: Timestamp, millis: i64) -> bool {
    (0..millis).contains(&now.unix_millis().saturating_sub(good.checked.unix_millis()))
}

/// What a key for an agent without one is compared with. Nobody knows what it is the hash of, and that
/// would not help either.
fn nobodys_hash() -> KeyHash {
    const HASH: &str = "$2b$10$AZOz/TtZIVZ4wfLNlBUyYOMM3nzaGrg8JOe7UZKy0c3EJK8gGAzu6";
    KeyHash(Arc::new(Zeroizing::new(HASH.to_owned())))
}

/// The agent that a key names, if it has the form of one.
fn named_agent(key: &str) -> Option<AgentName> {
    let (agent, random) = key.strip_prefix("eph_")?.rsplit_once('_')?;
    if key.len() > 200
        || random.len() < 22
        || !random
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        return None;
    }
    agent.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "eph_claude_0123456789abcdefghijklmnop";

    fn hash() -> KeyHash {
        KeyHash::new(&bcrypt::non_truncating_hash(KEY, 4).unwrap()).unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000 + millis)
    }

    #[tokio::test]
    async fn a_good_key_is_its_agents_and_a_wrong_one_nobodys() {
        let keys = Keys::default();
        let hash = hash();
        let of = |agent: &AgentName| (agent.as_str() == "claude").then(|| hash.clone());
        assert_eq!(keys.check(KEY, at(0), of).await.unwrap().as_str(), "claude");
        for wrong in [
            "eph_claude_0123456789abcdefghijklmnoq",
            "eph_other_0123456789abcdefghijklmnop",
            "eph_claude_short",
            "claude",
            "",
        ] {
            assert_eq!(
                keys.check(wrong, at(0), of).await,
                Err(KeyRefused::Wrong),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn a_success_is_remembered_for_a_minute_and_not_past_a_reload() {
        let keys = Keys::default();
        let hash = hash();
        let of = |_: &AgentName| Some(hash.clone());
        let none = |_: &AgentName| None;
        keys.check(KEY, at(0), of).await.unwrap();
        assert!(
            keys.check(KEY, at(59_999), none).await.is_ok(),
            "remembered"
        );
        assert_eq!(
            keys.check(KEY, at(60_000), none).await,
            Err(KeyRefused::Wrong),
            "expired"
        );
        keys.check(KEY, at(60_000), of).await.unwrap();
        keys.forget();
        assert_eq!(
            keys.check(KEY, at(60_000), none).await,
            Err(KeyRefused::Wrong),
            "forgotten"
        );
    }

    #[tokio::test]
    async fn strangers_are_held_to_a_budget_while_a_known_key_is_not() {
        let keys = Keys::default();
        let hash = hash();
        let of = |_: &AgentName| Some(hash.clone());
        keys.check(KEY, at(0), of).await.unwrap();
        let mut busy = 0;
        for n in 0..40 {
            let wrong = format!("eph_claude_{n:022}");
            if let Err(KeyRefused::Busy(seconds)) = keys.check(&wrong, at(0), of).await {
                assert!(seconds >= 1);
                busy += 1;
            }
        }
        assert!(busy >= 30, "{busy} of 40 were put off");
        assert!(
            keys.check(KEY, at(90_000), of).await.is_ok(),
            "good before, so compared at once"
        );
    }

    #[tokio::test]
    async fn what_has_not_the_form_of_a_key_is_refused_without_a_comparison() {
        let keys = Keys::default();
        let hash = hash();
        let of = |_: &AgentName| Some(hash.clone());
        let long = format!("{KEY}{}", "a".repeat(200 - KEY.len() + 1));
        for malformed in [
            "eph_claude_0123456789abcdefghijk",
            &format!("{KEY}!"),
            &long,
        ] {
            for _ in 0..2 * STRANGERS.count {
                let refused = keys.check(malformed, at(0), of).await;
                assert_eq!(refused, Err(KeyRefused::Wrong), "{malformed}");
            }
        }
        for _ in 0..STRANGERS.count {
            let stranger = keys.check(&format!("{KEY}x"), at(0), of).await;
            assert_eq!(stranger, Err(KeyRefused::Wrong), "all turns are left");
        }
        let stranger = keys.check(&format!("{KEY}x"), at(0), of).await;
        assert_eq!(stranger, Err(KeyRefused::Busy(5)));
    }

    #[test]
    fn there_is_an_end_to_how_many_keys_are_remembered() {
        let keys = Keys::default();
        let remember = |n: usize, now| {
            let digest = Digest(Sha256::digest(n.to_be_bytes()).into());
            keys.remember(digest, "claude".parse().unwrap(), now, 0);
            matches!(keys.cached(digest, now), Cached::Fresh(_))
        };
        assert!((0..CACHE_ENTRIES).all(|n| remember(n, at(0))));
        assert!(!remember(CACHE_ENTRIES, at(0)));
        assert!(
            remember(CACHE_ENTRIES, at(CACHE_MILLIS)),
            "the others are old"
        );
        assert_eq!(keys.known().good.len(), 1);
    }

    #[tokio::test]
    async fn a_reload_makes_no_stranger_of_a_good_key_unless_its_hash_is_gone() {
        let keys = Keys::default();
        let hash = hash();
        let of = |_: &AgentName| Some(hash.clone());
        let none = |_: &AgentName| None;
        keys.check(KEY, at(0), of).await.unwrap();
        let guess = async |n: u32| {
            let wrong = format!("eph_claude_{n:022}");
            keys.check(&wrong, at(0), of).await.unwrap_err()
        };
        for n in 0..40 {
            guess(n).await;
        }
        keys.forget();
        assert!(keys.check(KEY, at(0), of).await.is_ok(), "compared at once");
        keys.forget();
        let gone = keys.check(KEY, at(0), none).await;
        assert_eq!(gone, Err(KeyRefused::Wrong), "compared anew");
        let again = keys.check(KEY, at(0), none).await;
        assert_eq!(again, Err(KeyRefused::Busy(5)), "as anyone's");
    }

    #[tokio::test]
    async fn a_key_compared_while_the_policy_changed_is_not_remembered() {
        let keys = Keys::default();
        let hash = hash();
        // The reload comes right after the old hash was looked up.
        let of = |_: &AgentName| {
            keys.forget();
            Some(hash.clone())
        };
        keys.check(KEY, at(0), of).await.unwrap();
        let none = |_: &AgentName| None;
        assert_eq!(keys.check(KEY, at(1), none).await, Err(KeyRefused::Wrong));
    }

    #[tokio::test]
    async fn an_agent_without_a_key_looks_like_one_with_another_key() {
        let keys = Keys::default();
        let none = |_: &AgentName| None;
        for _ in 0..STRANGERS.count {
            assert_eq!(keys.check(KEY, at(0), none).await, Err(KeyRefused::Wrong));
        }
        assert_eq!(keys.check(KEY, at(0), none).await, Err(KeyRefused::Busy(5)));
        assert!(KeyHash::new(&nobodys_hash().0).is_ok());
    }

    #[tokio::test]
    async fn many_connections_with_one_good_key_are_no_strangers() {
        let keys = Arc::new(Keys::default());
        let hash = hash();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (keys, hash) = (Arc::clone(&keys), hash.clone());
            waiting.spawn(async move { keys.check(KEY, at(0), |_| Some(hash.clone())).await });
        }
        while let Some(checked) = waiting.join_next().await {
            assert!(checked.unwrap().is_ok());
        }
    }

    #[test]
    fn a_hash_is_checked_when_it_is_read() {
        assert!(KeyHash::new("$2b$10$short").is_err());
        assert!(KeyHash::new("plain").is_err());
    }
}
