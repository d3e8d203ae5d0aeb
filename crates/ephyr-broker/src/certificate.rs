//! Getting certificates from the signer: for a command that the broker runs, and for an agent's own use.

use std::sync::Arc;
use std::time::Duration;

use ephyr_audit::{AuditError, DecisionInfo, Event, Record};
use ephyr_names::{RecordId, Serial, TaskId, Timestamp};
use ephyr_policy::{Action, Denial, Permit, Purpose, ResolvedTarget, SshAction};
use ephyr_signer_ipc::{ErrorCode, Intent, Reply, Request};

use crate::auth::Caller;
use crate::broker::Broker;
use crate::clock;
use crate::gate::Held;
use crate::signer::SignerError;
use crate::state::StateError;
use crate::tools::action_info;

/// While a reload passes from the signer to the broker their policies differ for a moment: how often a
/// decision is taken anew, and how long to wait before it.
pub(crate) const RELOAD_TRIES: u32 = 15;
pub(crate) const RELOAD_WAIT: Duration = Duration::from_millis(200);

/// A certificate as the signer made it.
pub struct Signed {
    /// The certificate, an OpenSSH line.
    pub certificate: String,
    /// Its serial.
    pub serial: Serial,
    /// When it ends.
    pub expires: Timestamp,
}

/// A certificate for an agent's own use.
pub struct IssuedToAgent {
    /// The certificate, an OpenSSH line.
    pub certificate: String,
    /// Its serial.
    pub serial: Serial,
    /// When it ends.
    pub expires: Timestamp,
    /// Where it opens what.
    pub target: ResolvedTarget,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The policy says no.
    #[error("{0}")]
    Denied(Denial),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The state cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The signer gave none.
    #[error(transparent)]
    Signer(SignerError),
    /// The task was revoked after the request had arrived.
    #[error("task {task} was revoked at {at}; no certificate was given out")]
    Revoked {
        /// The task.
        task: TaskId,
        /// When.
        at: Timestamp,
    },
    /// A certificate was made, or may have been, and the agent does not get it.
    #[error(
        "{cause}; a certificate may have been made for it and counts until {until}, or until the same is \
         asked for again"
    )]
    Withheld {
        /// Why.
        cause: Box<CertificateError>,
        /// When it ends.
        until: Timestamp,
    },
    /// The public key is not one that certificates are made for.
    #[error(
        "public_key is not an OpenSSH line `ssh-ed25519 AAAA…`; make one with `ssh-keygen -t ed25519`"
    )]
    PublicKey,
}

impl CertificateError {
    /// Why, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.reason.as_str(),
            Self::Audit(_) => "audit_unavailable",
            Self::State(_) => "state_unavailable",
            Self::Signer(SignerError::Refused { code, .. }) => code.as_str(),
            Self::Signer(_) => "signer_unavailable",
            Self::Revoked { .. } => "task_revoked",
            Self::Withheld { cause, .. } => cause.code(),
            Self::PublicKey => "bad_public_key",
        }
    }
}

/// Asks the signer for the certificate that a permit stands for.
///
/// # Errors
/// [`SignerError`].
pub async fn sign(
    broker: &Broker,
    permit: &Permit,
    public_key: String,
) -> Result<Signed, SignerError> {
    let purpose = match permit.purpose() {
        Purpose::Exec {
            command,
            stdin_digest,
        } => ephyr_signer_ipc::Purpose::Exec {
            command: command.clone(),
            stdin_digest: *stdin_digest,
        },
        Purpose::Session => ephyr_signer_ipc::Purpose::Session,
        Purpose::User => ephyr_signer_ipc::Purpose::User,
        Purpose::Check => ephyr_signer_ipc::Purpose::Check,
    };
    let intent = Intent {
        policy: permit.policy_hash(),
        agent: permit.agent().clone(),
        target: permit.target().name().clone(),
        role: permit.target().role().clone(),
        ttl: permit.ttl(),
        public_key,
        purpose,
        task: permit.task(),
        lineage: permit.lineage().to_vec(),
    };
    match broker.signer().ask(&Request::Sign { intent }).await {
        Ok(Reply::Certificate {
            certificate,
            serial,
            expires,
        }) => Ok(Signed {
            certificate,
            serial,
            expires,
        }),
        Ok(_) => Err(SignerError::Unexpected),
        Err(error) => {
            broker.note_signer_failure(&error);
            Err(error)
        }
    }
}

/// Whether the signer refused only because it has another policy at this moment.
pub(crate) fn is_reloading(error: &SignerError) -> bool {
    matches!(
        error,
        SignerError::Refused {
            code: ErrorCode::PolicyMismatch,
            ..
        }
    )
}

/// Records a denial with its true cause, which the caller's answer may hide.
pub(crate) fn note_denial(broker: &Broker, caller: &Caller, action: &SshAction, denial: &Denial) {
    let cause = denial.cause();
    let mut record = broker.record(Event::Denied, caller);
    record.action = Some(action_info(action));
    record.decision = Some(DecisionInfo {
        step: Some(cause.step),
        reason: cause.reason.as_str().into(),
        rule: Some(cause.rule.into()),
    });
    broker.audit().note(record);
}

/// The record of an attempt or outcome under a permit.
pub(crate) fn record(broker: &Broker, event: Event, caller: &Caller, action: &SshAction) -> Record {
    let mut record = broker.record(event, caller);
    record.action = Some(action_info(action));
    record.decision = Some(DecisionInfo {
        step: None,
        reason: "permitted".into(),
        rule: None,
    });
    record
}

/// Issues a certificate to an agent for its own SSH client.
///
/// # Errors
/// [`CertificateError`]; the agent has none then.
pub async fn issue(
    broker: &Arc<Broker>,
    caller: &Caller,
    action: SshAction,
    public_key: &str,
) -> Result<IssuedToAgent, CertificateError> {
    let key =
        ssh_key::PublicKey::from_openssh(public_key).map_err(|_| CertificateError::PublicKey)?;
    let usable = key
        .key_data()
        .ed25519()
        .is_some_and(|key| ephyr_token::usable_point(&key.0).is_ok());
    if !usable {
        return Err(CertificateError::PublicKey);
    }
    let mut tries = 0;
    loop {
        match issue_once(broker, caller, &action, public_key).await {
            Err(CertificateError::Signer(error))
                if is_reloading(&error) && tries < RELOAD_TRIES =>
            {
                tries += 1;
                tokio::time::sleep(RELOAD_WAIT).await;
            }
            other => return other,
        }
    }
}

async fn issue_once(
    broker: &Arc<Broker>,
    caller: &Caller,
    action: &SshAction,
    public_key: &str,
) -> Result<IssuedToAgent, CertificateError> {
    let wanted = Action::Ssh(action.clone());
    let decided =
        broker
            .gate()
            .authorize(&broker.policy(), caller.subject(), &wanted, clock::now());
    let held = decided.map_err(|denial| {
        note_denial(broker, caller, action, &denial);
        CertificateError::Denied(denial)
    })?;
    still_standing(broker, caller)?;
    let attempt = broker
        .audit()
        .durable(&record(broker, Event::CertAttempt, caller, action))
        .await?
        .id;
    let signed = match sign(broker, held.permit(), public_key.to_owned()).await {
        Ok(signed) => signed,
        Err(error) => {
            let until = clock::now().after(held.permit().ttl());
            let may_exist = error.may_have_acted();
            if may_exist {
                held.keep_unseen(until);
            }
            let cause = CertificateError::Signer(error);
            outcome(broker, caller, action, attempt, None, Some(&cause));
            return Err(if may_exist {
                withheld(cause, until)
            } else {
                cause
            });
        }
    };
    let (serial, expires) = (signed.serial, signed.expires);
    let target = held.permit().target().clone();
    if let Err(cause) = settle(broker, caller, held, serial, expires) {
        outcome(broker, caller, action, attempt, Some(serial), Some(&cause));
        return Err(withheld(cause, expires));
    }
    outcome(broker, caller, action, attempt, Some(serial), None);
    Ok(IssuedToAgent {
        certificate: signed.certificate,
        serial,
        expires,
        target,
    })
}

/// Counts a certificate that the signer has made, and says whether the agent may have it.
///
/// It counts until it ends, also where the agent does not get it: it is for a key that the agent has, so
/// that whoever finds its text can log in with it, and nothing takes it back. One too many that counts
/// costs the agent a place for that time, and none if it asks for the same again; one too few would be
/// beyond the limit.
fn settle(
    broker: &Broker,
    caller: &Caller,
    held: Held,
    serial: Serial,
    expires: Timestamp,
) -> Result<(), CertificateError> {
    if let Some(issued) = held.keep(serial, expires) {
        broker.state().add_certificate(issued.into())?;
    }
    // Whoever revoked the task meanwhile was told that nothing of it is left.
    still_standing(broker, caller)
}

fn withheld(cause: CertificateError, until: Timestamp) -> CertificateError {
    let cause = Box::new(cause);
    CertificateError::Withheld { cause, until }
}

/// That nothing of the caller's lineage has been revoked since its request arrived.
fn still_standing(broker: &Broker, caller: &Caller) -> Result<(), CertificateError> {
    let lineage: Vec<TaskId> = caller.lineage().collect();
    match broker.state().revoked(&lineage) {
        None => Ok(()),
        Some(revoked) => Err(CertificateError::Revoked {
            task: revoked.task,
            at: revoked.at,
        }),
    }
}

fn outcome(
    broker: &Broker,
    caller: &Caller,
    action: &SshAction,
    attempt: RecordId,
    serial: Option<Serial>,
    error: Option<&CertificateError>,
) {
    let mut record = record(broker, Event::CertOutcome, caller, action);
    record.attempt = Some(attempt);
    record.serial = serial;
    if let Some(error) = error {
        record = record.with_detail("error", error.to_string());
    }
    broker.audit().note(record);
}

#[cfg(test)]
mod tests;
