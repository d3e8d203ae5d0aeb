//! The options of a bridge.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;

/// Computes the headers to add to a request from its body: a credential, or a proof over the body.
pub type Headers = Box<dyn Fn(&[u8]) -> Result<HeaderMap, String> + Send + Sync>;

/// The server of a bridge, and its timeouts.
pub struct Options {
    /// The `Host` header.
    pub host: String,
    /// The endpoint's path.
    pub path: String,
    /// Headers to add to each request.
    pub headers: Headers,
    /// How long to retry an unreachable server, which may be restarting.
    pub patience: Duration,
    /// How long running requests may continue after the end of the input.
    pub drain: Duration,
}

impl Options {
    /// Returns options for `/mcp` on a local server, without additional headers.
    #[must_use]
    pub fn local() -> Self {
        Self {
            host: "localhost".to_owned(),
            path: "/mcp".to_owned(),
            headers: Box::new(|_| Ok(HeaderMap::new())),
            patience: Duration::from_secs(5),
            drain: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("host", &self.host)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
