//! Logging in with the certificate, and what a session's end means.

use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ephyr_names::Timestamp;
use russh::Disconnect;
use russh::client::AuthResult;
use tokio::time::{Instant, timeout};

use crate::connect::{Connection, Failure, Session, closed, crashed, timed_out};
use crate::error::{ClockWindow, SshError, Stage};
use crate::key::Identity;
use crate::timings::Timings;

/// How long a session that has lost its server is given to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection on which the permit's account is logged in.
pub struct LoggedIn {
    pub(crate) session: Session,
}

impl Connection {
    /// Logs in as the permit's account.
    ///
    /// # Errors
    /// [`SshError::CertificateRefused`] when the target does not take the certificate; otherwise when it is
    /// too slow, closes the connection or breaks the protocol.
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
            Ok(Err(_)) => return Err(session.ended(Stage::Login).await),
            Ok(Ok(answer)) => answer,
        };
        match answer {
            AuthResult::Success => {
                session.cut.logged_in();
                session.timings.login = started.elapsed();
                Ok(LoggedIn { session })
            }
            AuthResult::Failure {
                remaining_methods,
                partial_success,
            } => {
                // A session that ended reports a refusal, too, but knows of no other methods.
                if remaining_methods.is_empty() && session.has_ended().await {
                    return Err(session.ended(Stage::Login).await);
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
    /// How long the steps took so far.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.session.timings
    }

    /// Takes leave of the target, without waiting for it.
    pub fn close(self) {
        self.session.leave();
    }
}

impl Session {
    /// Whether the session's task is at its end.
    async fn has_ended(&self) -> bool {
        let ended = async {
            while !self.handle.is_closed() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LAST_WORDS, ended).await.is_ok()
    }

    /// Why the session ended, which it has.
    pub(crate) async fn ended(&mut self, stage: Stage) -> SshError {
        let endpoint = &self.endpoint;
        match timeout(LAST_WORDS, &mut self.handle).await {
            Ok(Err(Failure::Session(russh::Error::Join(_)))) => crashed(endpoint, stage),
            Ok(Err(failure)) => failure.into_error(endpoint, stage),
            Ok(Ok(())) | Err(_) => {
                let said = self.farewell.lock().unwrap_or_else(PoisonError::into_inner);
                let said = said.as_deref().unwrap_or("without a word");
                closed(endpoint, stage, said)
            }
        }
    }

    /// Why a running command's channel ended without a status, in words.
    pub(crate) async fn loss(&mut self) -> String {
        if !self.has_ended().await {
            return "the target closed the channel without a status".into();
        }
        match self.ended(Stage::Start).await {
            SshError::Closed { reason, .. } | SshError::Protocol { reason, .. } => reason,
            SshError::Crashed { .. } => {
                "our SSH session failed over something the target sent".into()
            }
            other => other.code().into(),
        }
    }

    /// Says goodbye in the background; the connection is cut if the server does not take it at once.
    pub(crate) fn leave(self) {
        let Self { cut, handle, .. } = self;
        tokio::spawn(async move {
            let goodbye = async {
                if handle
                    .disconnect(Disconnect::ByApplication, "done", "")
                    .await
                    .is_ok()
                {
                    let _ = handle.await;
                }
            };
            let _ = timeout(LAST_WORDS, goodbye).await;
            drop(cut);
        });
    }
}
