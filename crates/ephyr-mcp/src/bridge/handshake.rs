//! The client's recorded handshake, repeated transparently after a server restart.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

use crate::headers::{PROTOCOL_VERSION, SESSION_ID};

/// The handshake of a client of a 2025 version.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    state: Mutex<Option<HandshakeState>>,
    /// Held while the handshake is repeated, so that concurrent requests repeat it only once.
    pub(crate) renewing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct HandshakeState {
    initialize: Bytes,
    version: HeaderValue,
    session: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct InitializeResponse {
    result: InitializeResult,
}

#[derive(Deserialize)]
struct InitializeResult {
    #[serde(rename = "protocolVersion")]
    protocol_version: String,
}

impl Handshake {
    /// Records a handshake; returns false if the response is not a successful one.
    pub(crate) fn remember(&self, initialize: Bytes, headers: &HeaderMap, answer: &[u8]) -> bool {
        let Ok(answer) = serde_json::from_slice::<InitializeResponse>(answer) else {
            return false;
        };
        let Ok(version) = HeaderValue::try_from(answer.result.protocol_version) else {
            return false;
        };
        *self.lock() = Some(HandshakeState {
            initialize,
            version,
            session: headers.get(SESSION_ID).cloned(),
        });
        true
    }

    /// Adds the version and session headers to a request, and returns the session id.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) -> Option<HeaderValue> {
        let state = self.lock();
        let state = state.as_ref()?;
        headers.insert(PROTOCOL_VERSION, state.version.clone());
        let session = state.session.clone()?;
        headers.insert(SESSION_ID, session.clone());
        Some(session)
    }

    /// Returns the `initialize` to repeat; `None` if the session has already been replaced.
    pub(crate) fn stale(&self, session: &HeaderValue) -> Option<Bytes> {
        let state = self.lock();
        let state = state.as_ref()?;
        (state.session.as_ref() == Some(session)).then(|| state.initialize.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<HandshakeState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
