//! Durations of the steps of a connection.

use std::time::Duration;

/// Duration of each step; zero for a step that was not reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Resolving the name and connecting by TCP.
    pub connect: Duration,
    /// Exchanging keys and checking the host key.
    pub kex: Duration,
    /// Logging in with the certificate.
    pub login: Duration,
    /// Running the command, from the request to its end.
    pub exec: Duration,
}

impl Timings {
    /// Returns the sum of all steps. It excludes time between steps, such as waiting for the signer.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.connect + self.kex + self.login + self.exec
    }
}
