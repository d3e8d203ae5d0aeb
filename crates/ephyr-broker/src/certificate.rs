//! Issues certificates for an agent's own SSH client, and signs under a permit.

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

/// During a reload the policies of signer and broker differ for a moment: the number of retries of a decision, and
/// the wait before each.
pub(crate) const RELOAD_TRIES: u32 = 15;
pub(crate) const RELOAD_WAIT: Duration = Duration::from_millis(200);

/// A certificate for an agent's own use.
pub struct IssuedToAgent {
    /// The certificate as an OpenSSH line.
    pub certificate: String,
    /// The serial number.
    pub serial: Serial,
    /// The expiry time.
    pub expires: Timestamp,
    /// The target and role that it opens.
    pub target: ResolvedTarget,
}

/// The reasons why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The policy denies the certificate.
    #[error("{0}")]
    Denied(Denial),
    /// The audit log could not be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The state could not be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The signer issued none.
    #[error(transparent)]
    Signer(SignerError),
    /// The task was revoked after the request arrived.
    #[error("task {task} was revoked at {at}; no certificate was issued")]
    Revoked {
        /// The task.
        task: TaskId,
        /// The time of the revocation.
        at: Timestamp,
    },
    /// A certificate was or may have been signed, but the agent does not get it.
    #[error(
        "{cause}; a certificate may have been signed nevertheless and counts until {until} against the agent's \
         limit, or until the same one is requested again"
    )]
    Withheld {
        /// The reason why the agent does not get it.
        cause: Box<CertificateError>,
        /// The expiry time of the certificate.
        until: Timestamp,
    },
    /// The public key is not a usable Ed25519 key.
    #[error(
        "public_key is not an OpenSSH line `ssh-ed25519 AAAA…`; make one with `ssh-keygen -t ed25519`"
    )]
    PublicKey,
}

impl CertificateError {
    /// Returns the reason code.
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

/// Requests the certificate that a permit allows.
///
/// # Errors
/// [`SignerError`], which is also recorded.
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
/// [`CertificateError`]; the agent received no certificate.
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

/// Decides, records the attempt on disk, signs, counts the certificate, records the outcome. This order ensures that
/// nothing unrecorded is signed and nothing uncounted is handed out.
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
    refuse_revoked(broker, caller)?;
    let record = broker.ssh_record(Event::CertAttempt, caller, action);
    let attempt = broker.attempt(AttemptKind::Certificate, record).await?;
    let issued = sign_and_count(broker, caller, held, &attempt, public_key).await;
    finish(attempt, |mut record| match &issued {
        Ok(issued) => {
            record.serial = Some(issued.serial);
            record
        }
        Err(failure) => {
            record.serial = failure.serial;
            record.with_detail("error", failure.cause.to_string())
        }
    });
    issued.map_err(CertificateError::from)
}

/// A failed issue, with what is known of a certificate that exists nevertheless.
struct IssueFailure {
    cause: CertificateError,
    /// The serial number, if the certificate was signed.
    serial: Option<Serial>,
    /// The expiry time of a certificate that was or may have been signed.
    until: Option<Timestamp>,
}

impl From<IssueFailure> for CertificateError {
    fn from(failure: IssueFailure) -> Self {
        match failure.until {
            None => failure.cause,
            Some(until) => Self::Withheld {
                cause: Box::new(failure.cause),
                until,
            },
        }
    }
}

/// Signs the certificate and counts it against the agent's limit.
///
/// It counts until it expires, even if the agent does not get it: it certifies a key that the agent holds, so any
/// process that obtains its text can log in, and it cannot be revoked. Counting one too many costs the agent a slot
/// until then, or none if it requests the same certificate again; counting one too few would exceed the limit.
async fn sign_and_count(
    broker: &Broker,
    caller: &AgentCaller,
    held: Held,
    attempt: &Attempt,
    public_key: &str,
) -> Result<IssuedToAgent, IssueFailure> {
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
            return Err(IssueFailure {
                cause: CertificateError::Signer(error),
                serial: None,
                until: may_exist.then_some(until),
            });
        }
    };
    let withheld = |cause| IssueFailure {
        cause,
        serial: Some(serial),
        until: Some(expires),
    };
    let target = held.permit().target().clone();
    if let Some(issued) = held.keep(serial, expires) {
        let kept = broker.state().add_certificate(issued);
        kept.map_err(|error| withheld(error.into()))?;
    }
    // The task may have been revoked while the signer worked, and the revocation reported complete.
    refuse_revoked(broker, caller).map_err(withheld)?;
    Ok(IssuedToAgent {
        certificate,
        serial,
        expires,
        target,
    })
}

/// Refuses a caller whose lineage was revoked after its request arrived.
fn refuse_revoked(broker: &Broker, caller: &AgentCaller) -> Result<(), CertificateError> {
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
