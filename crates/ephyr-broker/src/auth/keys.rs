//! API keys of agents that live elsewhere: `eph_<agent>_<random>`, so that one bcrypt comparison suffices.
//!
//! A success is cached under SHA-256(key) for a minute. bcrypt runs on blocking threads, one comparison at a time, and
//! keys that were never valid share a rate limit, so that guessing does not delay holders of valid keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ephyr_core::limits::try_take;
use ephyr_names::{AgentName, Digest, Timestamp, Ttl};
use ephyr_policy::{Rate, RateWindow};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// How long a success is cached.
const CACHE_MILLIS: i64 = 60_000;
/// How long a key that was valid once is exempt from [`UNKNOWN_KEY_RATE`].
const TRUSTED_MILLIS: i64 = 3_600_000;
/// Capacity of the cache; exceeds the number of agents in any realistic policy.
const CACHE_ENTRIES: usize = 4096;
/// Maximum number of concurrent bcrypt comparisons.
const CONCURRENT: usize = 1;
/// Rate limit for comparisons of keys that were never valid.
const UNKNOWN_KEY_RATE: Rate = Rate {
    count: 8,
    window: Ttl::from_secs(4),
};

/// A bcrypt hash of an API key. It is a credential, so it has no `Debug` or `Display`.
#[derive(Clone)]
pub struct KeyHash(Arc<Zeroizing<String>>);

/// The text is not a bcrypt hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a bcrypt hash such as `ephyr keys new` prints ($2b$10$…)")]
pub struct KeyHashError;

impl KeyHash {
    /// Parses a hash from the policy or a credential file.
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
    /// It is not a valid key of any agent.
    Wrong,
    /// Too many keys are being tried; retry after this many seconds.
    Busy(u32),
}

/// Verifies API keys.
pub struct Keys {
    cache: Mutex<KeyCache>,
    running: Semaphore,
}

struct KeyCache {
    verified: HashMap<Digest, VerifiedKey>,
    unknown_rate: RateWindow,
    /// Incremented by each reload; a comparison with a hash of an older policy is not cached as current.
    generation: u64,
}

struct VerifiedKey {
    agent: AgentName,
    checked: Timestamp,
    /// [`KeyCache::generation`] when the agent's hash was looked up.
    generation: u64,
}

/// The cache's answer for a key.
enum CacheLookup {
    /// Verified within the last minute, under the policy in force.
    Fresh(AgentName),
    /// Verified within the last hour.
    Trusted,
    /// Not cached.
    Unknown,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            cache: Mutex::new(KeyCache {
                verified: HashMap::new(),
                unknown_rate: RateWindow::new(UNKNOWN_KEY_RATE),
                generation: 0,
            }),
            running: Semaphore::new(CONCURRENT),
        }
    }
}

impl Keys {
    /// Forces a new comparison for each key, after a reload. Recently verified keys stay exempt from the rate limit, so
    /// that guessing during a reload does not lock out their holders.
    pub fn forget(&self) {
        self.cache().generation += 1;
    }

    fn cache(&self) -> MutexGuard<'_, KeyCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the agent that a key belongs to. `hash_of` returns an agent's hash in the policy in force at the call.
    ///
    /// # Errors
    /// [`KeyRefused`]. Neither the error nor the time it takes tells an agent without a key from a wrong key.
    pub async fn check(
        &self,
        key: &str,
        now: Timestamp,
        hash_of: impl Fn(&AgentName) -> Option<KeyHash>,
    ) -> Result<AgentName, KeyRefused> {
        let digest = Digest(Sha256::digest(key.as_bytes()).into());
        if let CacheLookup::Fresh(agent) = self.cached(digest, now) {
            return Ok(agent);
        }
        let agent = named_agent(key).ok_or(KeyRefused::Wrong)?;
        // Read before the hash is looked up, so that a reload in between invalidates the result.
        let generation = self.cache().generation;
        let own = hash_of(&agent);
        let (has_key, hash) = (own.is_some(), own.unwrap_or_else(dummy_hash));
        let Ok(_running) = self.running.acquire().await else {
            return Err(KeyRefused::Busy(1));
        };
        // A request that waited for a comparison of the same key needs none of its own.
        match self.cached(digest, now) {
            CacheLookup::Fresh(agent) => return Ok(agent),
            CacheLookup::Trusted => {}
            CacheLookup::Unknown => {
                let taken = try_take(&mut self.cache().unknown_rate, now);
                taken.map_err(KeyRefused::Busy)?;
            }
        }
        let key = Zeroizing::new(key.to_owned());
        let compared = tokio::task::spawn_blocking(move || {
            bcrypt::non_truncating_verify(key.as_bytes(), &hash.0).unwrap_or(false)
        });
        if !compared.await.unwrap_or(false) || !has_key {
            // A cached entry is from an older policy.
            self.cache().verified.remove(&digest);
            return Err(KeyRefused::Wrong);
        }
        self.remember(digest, agent.clone(), now, generation);
        Ok(agent)
    }

    fn cached(&self, digest: Digest, now: Timestamp) -> CacheLookup {
        let cache = self.cache();
        match cache.verified.get(&digest) {
            Some(key) if key.generation == cache.generation && fresh(key, now, CACHE_MILLIS) => {
                CacheLookup::Fresh(key.agent.clone())
            }
            Some(key) if fresh(key, now, TRUSTED_MILLIS) => CacheLookup::Trusted,
            _ => CacheLookup::Unknown,
        }
    }

    fn remember(&self, digest: Digest, agent: AgentName, now: Timestamp, generation: u64) {
        let mut cache = self.cache();
        if cache.verified.len() >= CACHE_ENTRIES {
            cache
                .verified
                .retain(|_, key| fresh(key, now, CACHE_MILLIS));
        }
        if cache.verified.len() < CACHE_ENTRIES {
            cache.verified.insert(
                digest,
                VerifiedKey {
                    agent,
                    checked: now,
                    generation,
                },
            );
        }
    }
}

fn fresh(key: &VerifiedKey, now: Timestamp, millis: i64) -> bool {
    (0..millis).contains(&now.unix_millis().saturating_sub(key.checked.unix_millis()))
}

/// Returns the hash that keys of agents without one are compared with, to equalise the time. A match is refused too.
fn dummy_hash() -> KeyHash {
    const HASH: &str = "$2b$10$AZOz/TtZIVZ4wfLNlBUyYOMM3nzaGrg8JOe7UZKy0c3EJK8gGAzu6";
    KeyHash(Arc::new(Zeroizing::new(HASH.to_owned())))
}

/// Returns the agent that a well-formed key names.
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
    async fn valid_key_identifies_its_agent() {
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
    async fn success_is_cached_for_a_minute_or_until_a_reload() {
        let keys = Keys::default();
        let hash = hash();
        let of = |_: &AgentName| Some(hash.clone());
        let none = |_: &AgentName| None;
        keys.check(KEY, at(0), of).await.unwrap();
        assert!(keys.check(KEY, at(59_999), none).await.is_ok(), "cached");
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
    async fn only_unknown_keys_are_rate_limited() {
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
        assert!(busy >= 30, "{busy} of 40 were rate limited");
        assert!(
            keys.check(KEY, at(90_000), of).await.is_ok(),
            "verified before, so exempt"
        );
    }

    #[tokio::test]
    async fn malformed_key_is_refused_without_a_comparison() {
        let keys = Keys::default();
        let hash = hash();
        let of = |_: &AgentName| Some(hash.clone());
        let long = format!("{KEY}{}", "a".repeat(200 - KEY.len() + 1));
        for malformed in [
            "eph_claude_0123456789abcdefghijk",
            &format!("{KEY}!"),
            &long,
        ] {
            for _ in 0..2 * UNKNOWN_KEY_RATE.count {
                let refused = keys.check(malformed, at(0), of).await;
                assert_eq!(refused, Err(KeyRefused::Wrong), "{malformed}");
            }
        }
        for _ in 0..UNKNOWN_KEY_RATE.count {
            let unknown = keys.check(&format!("{KEY}x"), at(0), of).await;
            assert_eq!(
                unknown,
                Err(KeyRefused::Wrong),
                "the rate limit is untouched"
            );
        }
        let unknown = keys.check(&format!("{KEY}x"), at(0), of).await;
        assert_eq!(unknown, Err(KeyRefused::Busy(5)));
    }

    #[test]
    fn key_cache_is_bounded() {
        let keys = Keys::default();
        let remember = |n: usize, now| {
            let digest = Digest(Sha256::digest(n.to_be_bytes()).into());
            keys.remember(digest, "claude".parse().unwrap(), now, 0);
            matches!(keys.cached(digest, now), CacheLookup::Fresh(_))
        };
        assert!((0..CACHE_ENTRIES).all(|n| remember(n, at(0))));
        assert!(!remember(CACHE_ENTRIES, at(0)));
        assert!(
            remember(CACHE_ENTRIES, at(CACHE_MILLIS)),
            "the others are old"
        );
        assert_eq!(keys.cache().verified.len(), 1);
    }

    #[tokio::test]
    async fn reload_keeps_a_key_exempt_unless_its_hash_is_gone() {
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
        assert!(
            keys.check(KEY, at(0), of).await.is_ok(),
            "exempt from the rate limit"
        );
        keys.forget();
        let gone = keys.check(KEY, at(0), none).await;
        assert_eq!(gone, Err(KeyRefused::Wrong), "compared anew");
        let again = keys.check(KEY, at(0), none).await;
        assert_eq!(again, Err(KeyRefused::Busy(5)), "no longer exempt");
    }

    #[tokio::test]
    async fn key_compared_during_a_reload_is_not_cached() {
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
    async fn agent_without_a_key_looks_like_a_wrong_key() {
        let keys = Keys::default();
        let none = |_: &AgentName| None;
        for _ in 0..UNKNOWN_KEY_RATE.count {
            assert_eq!(keys.check(KEY, at(0), none).await, Err(KeyRefused::Wrong));
        }
        assert_eq!(keys.check(KEY, at(0), none).await, Err(KeyRefused::Busy(5)));
        assert!(KeyHash::new(&dummy_hash().0).is_ok());
    }

    #[tokio::test]
    async fn concurrent_requests_with_a_valid_key_are_not_limited() {
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
    fn invalid_bcrypt_hash_is_refused() {
        assert!(KeyHash::new("$2b$10$short").is_err());
        assert!(KeyHash::new("plain").is_err());
    }
}
