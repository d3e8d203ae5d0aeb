//! Login with the certificate, and the errors of a session that ended.

use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ephyr_names::Timestamp;
use russh::Disconnect;
use russh::client::AuthResult;
use tokio::time::{Instant, timeout};

use crate::connect::{Connection, HandlerError, SshSession, closed, crashed, timed_out};
use crate::error::{ClockWindow, SshError, Stage};
use crate::key::Identity;
use crate::timings::Timings;

/// How long to wait for the session's task to end.
const SESSION_END_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that is logged in as the permit's account.
pub struct LoggedIn {
    pub(crate) session: SshSession,
}

impl Connection {
    /// Logs in as the permit's account.
    ///
    /// # Errors
    /// [`SshError::CertificateRefused`] when the target refuses the certificate; other errors when it is too
    /// slow, closes the connection or violates the protocol.
    pub async fn authenticate(self, identity: Identity) -> Result<LoggedIn, SshError> {
        let Self {
            mut session,
            login_timeout,
            ..
        } = self;
        let started = Instant::now();
        let account = session.endpoint.account.clone();
        let window = window(&identity);
        let login = session.handle.authenticate_openssh_cert(
            account.as_str(),
            identity.private,
            identity.certificate,
        );
        let answer = match timeout(login_timeout, login).await {
            Err(_) => return Err(timed_out(&session.endpoint, Stage::Login, login_timeout)),
            Ok(Err(_)) => return Err(session.end_error(Stage::Login).await),
            Ok(Ok(answer)) => answer,
        };
        match answer {
            AuthResult::Success => {
                session.close_guard.logged_in();
                session.timings.login = started.elapsed();
                Ok(LoggedIn { session })
            }
            AuthResult::Failure {
                remaining_methods,
                partial_success,
            } => {
                // The library also reports a failed login when the session ended, without other methods.
                if remaining_methods.is_empty() && session.has_ended().await {
                    return Err(session.end_error(Stage::Login).await);
                }
                Err(SshError::CertificateRefused {
                    target: session.endpoint.target.clone(),
                    account,
                    further: partial_success,
                    window,
                })
            }
        }
    }
}

/// Returns the certificate's validity and this host's time.
fn window(identity: &Identity) -> ClockWindow {
    let at = |seconds| Timestamp::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX));
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    ClockWindow {
        from: at(identity.certificate.valid_after()),
        to: at(identity.certificate.valid_before()),
        now: at(now.map_or(0, |now| now.as_secs())),
    }
}

impl LoggedIn {
    /// Returns the durations of the steps so far.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.session.timings
    }

    /// Disconnects from the target in the background.
    pub fn close(self) {
        self.session.disconnect();
    }
}

impl SshSession {
    /// Returns whether the session's task ends within [`SESSION_END_TIMEOUT`].
    async fn has_ended(&self) -> bool {
        let ended = async {
            while !self.handle.is_closed() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SESSION_END_TIMEOUT, ended).await.is_ok()
    }

    /// Returns the error of a session that ended during `stage`.
    pub(crate) async fn end_error(&mut self, stage: Stage) -> SshError {
        let endpoint = &self.endpoint;
        match timeout(SESSION_END_TIMEOUT, &mut self.handle).await {
            Ok(Err(HandlerError::Library(russh::Error::Join(_)))) => crashed(endpoint, stage),
            Ok(Err(failure)) => failure.into_error(endpoint, stage),
            Ok(Ok(())) | Err(_) => {
                let message = self.disconnect_message.lock();
                let message = message.unwrap_or_else(PoisonError::into_inner);
                let message = message.as_deref().unwrap_or("no disconnect message");
                closed(endpoint, stage, message)
            }
        }
    }

    /// Returns why a running command's channel ended without a status.
    pub(crate) async fn loss_reason(&mut self) -> String {
        if !self.has_ended().await {
            return "the target closed the channel without an exit status".into();
        }
        match self.end_error(Stage::Start).await {
            SshError::Closed { reason, .. } | SshError::Protocol { reason, .. } => reason,
            SshError::Crashed { .. } => {
                "Ephyr's SSH client crashed, probably on malformed input".into()
            }
            other => other.code().into(),
        }
    }

    /// Sends SSH_MSG_DISCONNECT in the background, then closes the connection.
    pub(crate) fn disconnect(self) {
        let Self {
            close_guard,
            handle,
            ..
        } = self;
        tokio::spawn(async move {
            let disconnect = async {
                if handle
                    .disconnect(Disconnect::ByApplication, "done", "")
                    .await
                    .is_ok()
                {
                    let _ = handle.await;
                }
            };
            let _ = timeout(SESSION_END_TIMEOUT, disconnect).await;
            drop(close_guard);
        });
    }
}
