//! Sessions of the Unix-socket API: a token that an agent may present in addition to its UID. An agent has at most
//! one session, which expires.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ephyr_core::ids;
use ephyr_names::{AgentName, Digest, Timestamp, Ttl};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The lifetime of a session.
const LIFETIME: Ttl = Ttl::from_secs(8 * 3600);

/// The sessions of all agents.
#[derive(Default)]
pub struct ApiSessions {
    // Only agents of the policy get here, so the policies loaded since startup bound the map.
    agents: Mutex<HashMap<AgentName, ApiSession>>,
}

#[derive(Clone, Copy)]
struct ApiSession {
    /// SHA-256 of the token.
    token: Digest,
    expires: Timestamp,
}

/// A session that was just opened.
pub struct OpenedApiSession {
    /// The token: 256 random bits as 64 hexadecimal digits.
    pub token: Zeroizing<String>,
    /// The expiry time.
    pub expires: Timestamp,
}

impl ApiSessions {
    /// Opens a session, replacing the agent's previous one.
    pub fn open(&self, agent: &AgentName, now: Timestamp) -> OpenedApiSession {
        let mut token = Zeroizing::new(String::with_capacity(64));
        for byte in Zeroizing::new(ids::random::<32>()).iter() {
            let _ = write!(token, "{byte:02x}");
        }
        let session = ApiSession {
            token: digest(token.as_bytes()),
            expires: now.after(LIFETIME),
        };
        self.lock().insert(agent.clone(), session);
        OpenedApiSession {
            token,
            expires: session.expires,
        }
    }

    /// Returns whether this is the token of the agent's session.
    #[must_use]
    pub fn accepts(&self, agent: &AgentName, token: &[u8], now: Timestamp) -> bool {
        let digest = digest(token);
        self.current(agent, now)
            .is_some_and(|session| session.token.0.ct_eq(&digest.0).into())
    }

    /// Returns the expiry time of the agent's session, if it has one.
    #[must_use]
    pub fn expiry(&self, agent: &AgentName, now: Timestamp) -> Option<Timestamp> {
        self.current(agent, now).map(|session| session.expires)
    }

    fn current(&self, agent: &AgentName, now: Timestamp) -> Option<ApiSession> {
        let session = self.lock().get(agent).copied();
        session.filter(|session| now < session.expires)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgentName, ApiSession>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn w37_session_ends_on_expiry_or_with_the_next_one() {
        let sessions = ApiSessions::default();
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
}
