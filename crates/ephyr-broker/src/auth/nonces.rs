//! Nonces of proofs that were accepted: none is accepted twice. A nonce is kept until its proof could no
//! longer pass for its age, so a replay is refused either by the nonce or by the time.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use ephyr_names::{Digest, Timestamp};

/// Nonces kept at once; beyond that proofs are refused rather than nonces forgotten.
const MAX: usize = 1_000_000;

/// The nonces seen.
#[derive(Default)]
pub struct Nonces {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    set: HashSet<Key>,
    by_age: VecDeque<(Timestamp, Key)>,
}

/// Token and nonce together: two tokens may use one nonce.
type Key = (Digest, [u8; 16]);

impl Nonces {
    /// Accepts a nonce once. `until` is when its proof will be too old.
    #[must_use]
    pub fn accept(&self, token: Digest, nonce: [u8; 16], until: Timestamp, now: Timestamp) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while seen.by_age.front().is_some_and(|(end, _)| *end < now) {
            if let Some((_, key)) = seen.by_age.pop_front() {
                seen.set.remove(&key);
            }
        }
        if seen.set.len() >= MAX || !seen.set.insert((token, nonce)) {
            return false;
        }
        seen.by_age.push_back((until, (token, nonce)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    #[test]
    fn a_nonce_is_accepted_once_per_token() {
        let nonces = Nonces::default();
        let (a, b) = (Digest([1; 32]), Digest([2; 32]));
        assert!(nonces.accept(a, [0; 16], at(30), at(0)));
        assert!(!nonces.accept(a, [0; 16], at(30), at(30)), "replay");
        assert!(nonces.accept(b, [0; 16], at(30), at(0)), "another token");
        assert!(nonces.accept(a, [1; 16], at(30), at(0)), "another nonce");
    }

    #[test]
    fn it_is_forgotten_when_its_proof_is_too_old_anyway() {
        let nonces = Nonces::default();
        assert!(nonces.accept(Digest::ZERO, [0; 16], at(30), at(0)));
        assert!(nonces.accept(Digest::ZERO, [0; 16], at(90), at(31)));
        assert_eq!(nonces.seen.lock().unwrap().set.len(), 1);
    }
}
