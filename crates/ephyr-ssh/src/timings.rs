//! How long the steps of a connection took.

use std::time::Duration;

/// How long each step took; zero for a step that was not reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Looking up the name and connecting by TCP.
    pub connect: Duration,
    /// Exchanging keys and checking the host key.
    pub kex: Duration,
    /// Logging in with the certificate.
    pub login: Duration,
    /// From the request to run the command to its end.
    pub exec: Duration,
}

impl Timings {
    /// All steps together. Waiting between two of them, such as for the signer, is not in it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.connect + self.kex + self.login + self.exec
    }
}
