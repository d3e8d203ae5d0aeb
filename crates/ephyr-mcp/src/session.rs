//! Stateless session ids for the versions with a handshake. An id is 16 random bytes and a MAC over
//! them, the negotiated version and the caller's identity. There is no table to exhaust, nothing
//! expires, and no caller can use another's id.
//!
//! A session only scopes the request ids of `notifications/cancelled`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::version::Version;

/// The MAC key of session ids. With the same key, ids remain valid across a restart.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// Returns a persistent key.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns a fresh key; clients of the 2025 versions have to initialise again.
    ///
    /// # Errors
    /// The system's random number generator failed.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

const NONCE: usize = 16;
const TAG: usize = 16;
const ID_BYTES: usize = 1 + NONCE + TAG;
const ID_TEXT: usize = ID_BYTES * 4 / 3;

/// A session that a caller may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct McpSession {
    pub(crate) version: Version,
    nonce: [u8; NONCE],
}

/// Creates and verifies session ids.
pub(crate) struct SessionSealer(Hmac<Sha256>);

impl SessionSealer {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    pub(crate) fn new(key: &SessionKey) -> Self {
        Self(Hmac::new_from_slice(&key.0).expect("a key of 32 bytes"))
    }

    pub(crate) fn open_new(
        &self,
        version: Version,
        caller: &str,
    ) -> Result<String, getrandom::Error> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)?;
        let session = McpSession { version, nonce };
        let mut id = Vec::with_capacity(ID_BYTES);
        id.push(version_byte(version));
        id.extend_from_slice(&nonce);
        id.extend_from_slice(&self.tag(session, caller));
        Ok(URL_SAFE_NO_PAD.encode(id))
    }

    /// Returns the session with this id if it was issued to this caller.
    pub(crate) fn open(&self, id: &[u8], caller: &str) -> Option<McpSession> {
        if id.len() != ID_TEXT {
            return None;
        }
        let mut bytes = [0; ID_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(id, &mut bytes).ok()?;
        let (&version, rest) = bytes.get(..length)?.split_first()?;
        let (nonce, tag) = rest.split_first_chunk::<NONCE>()?;
        let session = McpSession {
            version: Version::ALL
                .into_iter()
                .find(|v| version_byte(*v) == version)?,
            nonce: *nonce,
        };
        let sealed: bool = self.tag(session, caller).ct_eq(tag).into();
        sealed.then_some(session)
    }

    fn tag(&self, session: McpSession, caller: &str) -> [u8; TAG] {
        let mut mac = self.0.clone();
        mac.update(b"ephyr-mcp-session-v1");
        mac.update(&[version_byte(session.version)]);
        mac.update(&session.nonce);
        mac.update(caller.as_bytes());
        let full = mac.finalize().into_bytes();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&full[..TAG]);
        tag
    }
}

fn version_byte(version: Version) -> u8 {
    match version {
        Version::V2025_03_26 => 1,
        Version::V2025_06_18 => 2,
        Version::V2025_11_25 => 3,
        Version::V2026_07_28 => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> SessionSealer {
        SessionSealer::new(&SessionKey::from_bytes([byte; 32]))
    }

    #[test]
    fn session_is_valid_only_for_its_caller() {
        let ours = sealer(1);
        let id = ours.open_new(Version::V2025_06_18, "alpha").unwrap();
        assert!(id.bytes().all(|b| b.is_ascii_graphic()));
        let session = ours.open(id.as_bytes(), "alpha").unwrap();
        assert_eq!(session.version, Version::V2025_06_18);
        assert_eq!(ours.open(id.as_bytes(), "beta"), None);
        assert_eq!(ours.open(id.as_bytes(), "alph"), None);
        assert_eq!(sealer(2).open(id.as_bytes(), "alpha"), None);
    }

    #[test]
    fn changing_any_character_invalidates_an_id() {
        let ours = sealer(1);
        let id = ours.open_new(Version::V2025_11_25, "alpha").unwrap();
        for at in 0..id.len() {
            let mut changed = id.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(ours.open(&changed, "alpha"), None, "position {at}");
        }
        assert_eq!(ours.open(b"", "alpha"), None);
        assert_eq!(ours.open(&[0xff; ID_TEXT], "alpha"), None);
    }
}
