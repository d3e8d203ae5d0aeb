//! Certificates for an agent's own use, and signing under a permit.

use std::sync::Arc;
use std::time::Duration;

use ephyr_audit::{Attempt, AttemptKind, AuditError, Event};
use ephyr_core::caller::AgentCaller;
use ephyr_core::gate::Held;
use ephyr_core::signer::{SignedCertificate, SignerError};
use ephyr_core::state::StateError;
use ephyr_names::{Serial, TaskId, Timestamp};
use ephyr_policy::{Denial, ResolvedTarget, SshAction, SshPermit};

use crate::broker::Broker;
use crate::clock;
use crate::records::finish;

/// While a reload passes from the signer to the broker their policies differ for a moment: how often a
/// decision is taken anew, and how long to wait before it.
pub(crate) const RELOAD_TRIES: u32 = 15;
pub(crate) const RELOAD_WAIT: Duration = Duration::from_millis(200);

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

/// Requests the certificate that a permit stands for.
///
/// # Errors
/// [`SignerError`], which is recorded.
pub(crate) async fn sign(
    broker: &Broker,
    permit: &SshPermit,
    attempt: &Attempt,
    public_key: String,
) -> Result<SignedCertificate, SignerError> {
    let signed = broker.signer().sign(permit, attempt, public_key).await;
    signed.inspect_err(|error| broker.note_signer_failure(error))
}

/// Issues a certificate to an agent for its own SSH client.
///
/// # Errors
/// [`CertificateError`]; the agent has none then.
pub async fn issue(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
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
                if error.is_reloading() && tries < RELOAD_TRIES =>
            {
                tries += 1;
                tokio::time::sleep(RELOAD_WAIT).await;
            }
            other => return other,
        }
    }
}

/// Decision, attempt on disk, signature, slot, outcome: in this order, so that nothing is signed that is not recorded,
/// and nothing is given out that is not counted.
async fn issue_once(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    action: &SshAction,
    public_key: &str,
) -> Result<IssuedToAgent, CertificateError> {
    let (gate, subject) = (broker.gate(), caller.subject());
    let decided = gate.authorize(&broker.policy(), subject, action, clock::now());
    let held = decided.map_err(|denial| {
        broker.note_denial(caller, action, &denial);
        CertificateError::Denied(denial)
    })?;
    still_standing(broker, caller)?;
    let record = broker.ssh_record(Event::CertAttempt, caller, action);
    let attempt = broker.attempt(AttemptKind::Certificate, record).await?;
    let issued = sign_and_count(broker, caller, held, &attempt, public_key).await;
    finish(attempt, |mut record| match &issued {
        Ok(issued) => {
            record.serial = Some(issued.serial);
            record
        }
        Err(unissued) => {
            record.serial = unissued.serial;
            record.with_detail("error", unissued.cause.to_string())
        }
    });
    issued.map_err(CertificateError::from)
}

/// Why an attempt gave the agent no certificate.
struct Unissued {
    cause: CertificateError,
    /// The certificate that exists all the same.
    serial: Option<Serial>,
    /// The end of the certificate that exists, or may.
    until: Option<Timestamp>,
}

impl From<Unissued> for CertificateError {
    fn from(unissued: Unissued) -> Self {
        match unissued.until {
            None => unissued.cause,
            Some(until) => Self::Withheld {
                cause: Box::new(unissued.cause),
                until,
            },
        }
    }
}

/// Signs, and counts the certificate.
///
/// It counts until it ends, also where the agent does not get it: it is for a key that the agent has, so
/// that a process that finds its text can log in with it, and nothing takes it back. One too many that counts
/// costs the agent a slot for that time, and none if it asks for the same again; one too few would exceed
/// the limit.
async fn sign_and_count(
    broker: &Broker,
    caller: &AgentCaller,
    held: Held,
    attempt: &Attempt,
    public_key: &str,
) -> Result<IssuedToAgent, Unissued> {
    let signed = sign(broker, held.permit(), attempt, public_key.to_owned()).await;
    let SignedCertificate {
        certificate,
        serial,
        expires,
    } = match signed {
        Ok(signed) => signed,
        Err(error) => {
            let until = clock::now().after(held.permit().ttl());
            let may_exist = error.may_have_acted();
            if may_exist {
                held.keep_unseen(until);
            }
            return Err(Unissued {
                cause: CertificateError::Signer(error),
                serial: None,
                until: may_exist.then_some(until),
            });
        }
    };
    let withheld = |cause| Unissued {
        cause,
        serial: Some(serial),
        until: Some(expires),
    };
    let target = held.permit().target().clone();
    if let Some(issued) = held.keep(serial, expires) {
        let kept = broker.state().add_certificate(issued);
        kept.map_err(|error| withheld(error.into()))?;
    }
    // A caller that revoked the task meanwhile was told that nothing of it is left.
    still_standing(broker, caller).map_err(withheld)?;
    Ok(IssuedToAgent {
        certificate,
        serial,
        expires,
        target,
    })
}

/// Refuses a caller whose lineage was revoked after its request arrived.
fn still_standing(broker: &Broker, caller: &AgentCaller) -> Result<(), CertificateError> {
    let lineage: Vec<TaskId> = caller.lineage().collect();
    match broker.state().revoked(&lineage) {
        None => Ok(()),
        Some(revoked) => Err(CertificateError::Revoked {
            task: revoked.task,
            at: revoked.at,
        }),
    }
}

#[cfg(test)]
mod tests;
