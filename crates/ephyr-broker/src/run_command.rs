//! Runs one command on one target, from permit to receipt.
//!
//! The order of the steps is a security property: first the permit; then the registration among the running
//! actions, which fails if the task was revoked in the meantime; then the attempt record, on disk; only then the first
//! packet to the target and the first request to the signer. An outcome record follows every attempt.

mod error;
mod pieces;
mod written;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyr_api::{CommandOutput, Encoding};
use ephyr_audit::{Attempt, AttemptKind, Event, Record};
use ephyr_core::caller::AgentCaller;
use ephyr_core::gate::Held;
use ephyr_core::live::Ended;
use ephyr_core::signer::SignedCertificate;
use ephyr_mcp::{CallContext, Progress};
use ephyr_names::Serial;
use ephyr_policy::SshAction;
use ephyr_ssh::{ExecOptions, ExecOutput, Exit, HostKeySeen, KeyPair, LoggedIn, SshError, Stage};
use ephyr_token::Receipt;
use tokio::sync::watch;

use crate::broker::Broker;
use crate::certificate::{self, RELOAD_TRIES, RELOAD_WAIT};
use crate::clock;
use crate::records::finish;

pub use error::{RunError, RunFailure};

/// The result of a command that ran.
pub struct Outcome {
    output: ExecOutput,
    /// Milliseconds from the permit to the outcome.
    pub duration_ms: u64,
    /// Proof that the attempt was recorded.
    pub receipt: Option<Receipt>,
}

impl Outcome {
    /// Returns the command's output; truncated text ends with a complete character.
    #[must_use]
    pub fn written(&self, encoding: Encoding) -> CommandOutput<'_> {
        written::written(&self.output, encoding)
    }

    /// Returns the exit code; -1 if the command ended without one.
    #[must_use]
    pub fn exit_code(&self) -> i64 {
        match &self.output.exit {
            Exit::Code(code) => i64::from(*code),
            Exit::Signal(_)
            | Exit::Timeout
            | Exit::Cancelled
            | Exit::Lost(_)
            | Exit::Unproven(_) => -1,
        }
    }

    /// Returns the name of the signal that ended the command.
    #[must_use]
    pub fn signal(&self) -> Option<&str> {
        match &self.output.exit {
            Exit::Signal(signal) => Some(signal),
            Exit::Code(_) | Exit::Timeout | Exit::Cancelled | Exit::Lost(_) | Exit::Unproven(_) => {
                None
            }
        }
    }

    /// Returns whether the command was ended by its timeout.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.output.exit == Exit::Timeout
    }
}

/// Runs a command on behalf of a caller.
///
/// # Errors
/// [`RunFailure`] with the reason and the output received so far. A command that ran and failed is not an
/// error.
pub async fn run(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    action: &SshAction,
    terms: Terms,
    context: CallContext,
) -> Result<Outcome, Box<RunFailure>> {
    let mut gone = context.cancel.into_receiver();
    let mut tries = 0;
    loop {
        let request = Request {
            broker,
            caller,
            action,
            terms,
            progress: &context.progress,
        };
        match request.once(&mut gone).await {
            Err(failed) if failed.error.is_reloading() && tries < RELOAD_TRIES => {
                tries += 1;
                tokio::time::sleep(RELOAD_WAIT).await;
            }
            other => return other,
        }
    }
}

/// The options for running a command.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The time after which the command is ended.
    pub timeout: Duration,
    /// The encoding of the output in progress messages.
    pub encoding: Encoding,
}

/// One request to run a command.
struct Request<'a> {
    broker: &'a Arc<Broker>,
    caller: &'a AgentCaller,
    action: &'a SshAction,
    terms: Terms,
    progress: &'a Progress,
}

/// Details of the login, for the outcome record.
#[derive(Default)]
struct LoginFacts {
    serial: Option<Serial>,
    host_key: Option<HostKeySeen>,
}

impl Request<'_> {
    async fn once(&self, gone: &mut watch::Receiver<bool>) -> Result<Outcome, Box<RunFailure>> {
        let begun = Instant::now();
        let held = self.authorize().map_err(RunFailure::from)?;
        let running = self
            .broker
            .live()
            .begin(
                self.broker.state(),
                self.caller.subject().clone(),
                self.action.clone(),
            )
            .map_err(|revoked| RunError::Revoked {
                task: revoked.task,
                at: revoked.at,
            })
            .map_err(RunFailure::from)?;
        let record = self
            .broker
            .ssh_record(Event::ExecAttempt, self.caller, self.action)
            .with_detail("timeout_s", self.terms.timeout.as_secs().to_string());
        let attempt = self.broker.attempt(AttemptKind::Exec, record).await;
        let attempt = attempt.map_err(|error| RunFailure::from(RunError::from(error)))?;

        let mut facts = LoginFacts::default();
        let mut ended = running.ended();
        let (canceller, cancel) = ephyr_ssh::cancellation();
        let (result, why) = {
            let work = self.execute(&held, &attempt, cancel, &mut facts);
            tokio::pin!(work);
            tokio::select! {
                result = &mut work => (result, None),
                why = ended_by(&mut ended, gone) => {
                    canceller.cancel();
                    (work.await, Some(why))
                }
            }
        };
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match self.settle(result, why) {
            Ok(output) => {
                let appended = attempt.appended();
                self.finish(attempt, &facts, duration_ms, Some(&output), None);
                Ok(Outcome {
                    output,
                    duration_ms,
                    receipt: self.broker.receipt(appended),
                })
            }
            Err(failed) => {
                let RunFailure { error, output } = &*failed;
                self.finish(attempt, &facts, duration_ms, output.as_ref(), Some(error));
                Err(failed)
            }
        }
    }

    /// Returns the output of a command that ended by itself or by its timeout. Any other end is an error that
    /// says whether the target had been asked to run the command.
    fn settle(
        &self,
        result: Result<Option<ExecOutput>, RunError>,
        why: Option<Ended>,
    ) -> Result<ExecOutput, Box<RunFailure>> {
        let without_output = |error| Box::new(RunFailure::from(error));
        let not_begun = || without_output(RunError::NotBegun(why.unwrap_or(Ended::Shutdown)));
        let output = result.map_err(without_output)?.ok_or_else(not_begun)?;
        let error = match &output.exit {
            Exit::Cancelled if !output.asked => return Err(not_begun()),
            Exit::Cancelled => RunError::Ended(why.unwrap_or(Ended::Shutdown)),
            Exit::Timeout if !output.asked => {
                return Err(without_output(RunError::Ssh(SshError::TimedOut {
                    target: self.action.target.clone(),
                    stage: Stage::Start,
                    after: self.terms.timeout,
                })));
            }
            Exit::Lost(why) => RunError::Lost(why.clone()),
            Exit::Unproven(reported) => RunError::Unproven(reported.clone()),
            Exit::Code(_) | Exit::Signal(_) | Exit::Timeout => return Ok(output),
        };
        Err(Box::new(RunFailure {
            error,
            output: Some(output),
        }))
    }

    fn authorize(&self) -> Result<Held, RunError> {
        let policy = self.broker.policy();
        let subject = self.caller.subject();
        let gate = self.broker.gate();
        let decided = gate.authorize(&policy, subject, self.action, clock::now());
        decided.map_err(|denial| {
            self.broker.note_denial(self.caller, self.action, &denial);
            RunError::Denied(denial)
        })
    }

    /// Logs in and runs the command. Returns `None` if cancelled before the command was sent.
    async fn execute(
        &self,
        held: &Held,
        attempt: &Attempt,
        cancel: ephyr_ssh::Cancel,
        facts: &mut LoginFacts,
    ) -> Result<Option<ExecOutput>, RunError> {
        let mut cancelled = cancel.clone();
        let logged_in = tokio::select! {
            biased;
            () = cancelled.cancelled() => return Ok(None),
            logged_in = self.log_in(held, attempt, facts) => logged_in?,
        };
        let output = logged_in.exec(ExecOptions {
            timeout: self.terms.timeout,
            cancel,
            progress: pieces::relay(self.progress, self.terms.encoding),
            ..ExecOptions::default()
        });
        Ok(Some(output.await?))
    }

    /// Connects to the target while the signer issues the certificate, then authenticates.
    async fn log_in(
        &self,
        held: &Held,
        attempt: &Attempt,
        facts: &mut LoginFacts,
    ) -> Result<LoggedIn, RunError> {
        let options = ephyr_ssh::Options {
            strict_host_keys: self.broker.policy().global().host_key_strict,
            ..ephyr_ssh::Options::default()
        };
        let connecting = ephyr_ssh::connect(held.permit(), attempt, &options);
        let signing = async {
            let pair = KeyPair::generate()?;
            let public_key = pair.public_openssh().to_owned();
            let signed = certificate::sign(self.broker, held.permit(), attempt, public_key).await;
            let SignedCertificate {
                certificate,
                serial,
                expires,
            } = signed.map_err(RunError::Signer)?;
            self.broker
                .gate()
                .issued(held.permit().slot(), serial, expires);
            Ok::<_, RunError>((pair.identity(&certificate)?, serial))
        };
        let connecting = async { connecting.await.map_err(RunError::from) };
        let (connection, (identity, serial)) = tokio::try_join!(connecting, signing)?;
        facts.serial = Some(serial);
        facts.host_key = Some(connection.host_key().clone());
        Ok(connection.authenticate(identity).await?)
    }

    /// Records the outcome, and an unpinned or changed host key.
    fn finish(
        &self,
        attempt: Attempt,
        facts: &LoginFacts,
        duration_ms: u64,
        output: Option<&ExecOutput>,
        error: Option<&RunError>,
    ) {
        if let Some(seen) = facts.host_key.as_ref().filter(|seen| !seen.pinned) {
            let record = self.record(Event::HostKeyUnpinned);
            self.broker
                .audit()
                .note(record.with_detail("fingerprint", seen.fingerprint.as_str()));
        }
        if matches!(error, Some(RunError::Ssh(SshError::HostKeyChanged { .. }))) {
            self.broker
                .audit()
                .note(self.record(Event::HostKeyMismatch));
        }
        finish(attempt, |mut record| {
            record.serial = facts.serial;
            record.duration_ms = Some(duration_ms);
            if let Some(error) = error {
                record = record
                    .with_detail("error", error.code())
                    .with_detail("started", error.may_have_run().to_string());
            }
            match output {
                Some(output) => with_output(record, output),
                None => record,
            }
        });
    }

    fn record(&self, event: Event) -> Record {
        self.broker.ssh_record(event, self.caller, self.action)
    }
}

/// Adds how the command ended and how many bytes it wrote.
fn with_output(record: Record, output: &ExecOutput) -> Record {
    let exit = match &output.exit {
        Exit::Code(code) => code.to_string(),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Timeout => "timeout".to_owned(),
        Exit::Cancelled => "ended".to_owned(),
        Exit::Lost(_) => "lost".to_owned(),
        Exit::Unproven(_) => "unproven".to_owned(),
    };
    record
        .with_detail("exit", exit)
        .with_detail("stdout_bytes", output.stdout_bytes.to_string())
        .with_detail("stderr_bytes", output.stderr_bytes.to_string())
}

/// Waits until the action is ended by a revocation, a policy change, shutdown, or the caller going away.
async fn ended_by(
    ended: &mut watch::Receiver<Option<Ended>>,
    gone: &mut watch::Receiver<bool>,
) -> Ended {
    let by_broker = async {
        let why = ended.wait_for(Option::is_some).await.map(|why| *why);
        match why {
            Ok(why) => why.unwrap_or(Ended::Shutdown),
            Err(_) => std::future::pending().await,
        }
    };
    let by_caller = async {
        let never = gone.wait_for(|gone| *gone).await.is_err();
        if never {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        why = by_broker => why,
        () = by_caller => Ended::CallerGone,
    }
}
