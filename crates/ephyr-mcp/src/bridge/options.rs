//! The options of a bridge.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;

/// Headers to add to a request, made from its body: a credential, or a proof over the body.
pub type Headers = Box<dyn Fn(&[u8]) -> Result<HeaderMap, String> + Send + Sync>;

/// Where the bridge leads.
pub struct Options {
    /// The `Host` header.
    pub host: String,
    /// The endpoint's path.
    pub path: String,
    /// Headers to add to each request.
    pub headers: Headers,
    /// How long a server that cannot be reached is tried again: it may be restarting.
    pub patience: Duration,
    /// How long running requests may go on after the input ended.
    pub drain: Duration,
}

impl Options {
    /// To `/mcp` on a local server, without further headers.
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
