//! What the bridge remembers of a client's handshake, so that a server that restarted can be given
//! it again without the client noticing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

use crate::headers::{PROTOCOL_VERSION, SESSION_ID};

/// The handshake of a client of a 2025 version.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    state: Mutex<Option<State>>,
    /// Held while the handshake is repeated, so that it is repeated once.
    pub(crate) renewing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct State {
    initialize: Bytes,
    version: HeaderValue,
    session: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Answer {
    result: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(rename = "protocolVersion")]
    protocol_version: String,
}

impl Handshake {
    /// Remembers a handshake, if the answer says that it was made.
    pub(crate) fn remember(&self, initialize: Bytes, headers: &HeaderMap, answer: &[u8]) -> bool {
        let Ok(answer) = serde_json::from_slice::<Answer>(answer) else {
            return false;
        };
        let Ok(version) = HeaderValue::try_from(answer.result.protocol_version) else {
            return false;
        };
        *self.lock() = Some(State {
            initialize,
            version,
            session: headers.get(SESSION_ID).cloned(),
        });
        true
    }

    /// Adds what a request after the handshake carries; gives back the session id it names.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) -> Option<HeaderValue> {
        let state = self.lock();
        let state = state.as_ref()?;
        headers.insert(PROTOCOL_VERSION, state.version.clone());
        let session = state.session.clone()?;
        headers.insert(SESSION_ID, session.clone());
        Some(session)
    }

    /// The `initialize` to send again, unless the session has been replaced already.
    pub(crate) fn stale(&self, session: &HeaderValue) -> Option<Bytes> {
        let state = self.lock();
        let state = state.as_ref()?;
        (state.session.as_ref() == Some(session)).then(|| state.initialize.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
