//! Answers one request: rate limits, derivation, signature, journal entry.

use std::io;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use ephyr_chain::ChainWriteError;
use ephyr_names::{Digest, EpochId, RecordId, Serial, Timestamp, Ttl};
use ephyr_policy::Policy;
use ephyr_sandbox::log;
use ephyr_signer_ipc::{
    BrokerId, ErrorCode, Intent, PublicKeyBytes, Purpose, Reply, Request, SandboxReport,
};
use ephyr_token::{DelegationPayload, MAX_DELEGATION, MAX_ROOT_TTL};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};
use ssh_key::HashAlg;
use ssh_key::public::KeyData;

use crate::derive::{CertificateSpec, Refusal, derive};
use crate::entry::JournalEvent;
use crate::journal::Journal;
use crate::key::CaKey;
use crate::limits::{Exceeded, Limits};
use crate::refusals::RefusalKind;

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The wall clock, for signed times.
    pub time: Timestamp,
    /// The monotonic clock, for limits and deadlines.
    pub monotonic: Duration,
}

/// Answers requests. Journaled replies may be sent only after [`Service::commit`] has succeeded.
pub struct Service {
    ca: CaKey,
    policy: Policy,
    journal: Journal,
    limits: Limits,
    sandbox: SandboxReport,
    started: Duration,
}

/// A reply, and whether it depends on a staged journal entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// Whether the reply must be withheld if the journal cannot be written.
    pub journaled: bool,
}

impl Service {
    /// Creates the service with this policy and stages the `started` entry.
    ///
    /// # Errors
    ///
    /// [`ChainWriteError`] if the entry cannot be encoded.
    pub fn new(
        ca: CaKey,
        policy: Policy,
        mut journal: Journal,
        sandbox: SandboxReport,
        now: Now,
    ) -> Result<Self, ChainWriteError> {
        let event = JournalEvent::Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: policy.hash(),
            ca: ca.fingerprint().to_owned(),
        };
        journal.stage(now.time, event)?;
        Ok(Self {
            limits: Limits::new(&policy),
            ca,
            policy,
            journal,
            sandbox,
            started: now.monotonic,
        })
    }

    /// Applies a new policy.
    ///
    /// # Errors
    ///
    /// [`ChainWriteError`] if the entry cannot be encoded; the old policy stays in force.
    pub fn reload(&mut self, policy: Policy, now: Now) -> Result<(), ChainWriteError> {
        let event = JournalEvent::PolicyLoaded {
            policy: policy.hash(),
        };
        self.journal.stage(now.time, event)?;
        self.limits.reload(&policy);
        self.policy = policy;
        Ok(())
    }

    /// Returns the confinement of this process.
    #[must_use]
    pub fn sandbox(&self) -> &SandboxReport {
        &self.sandbox
    }

    /// Returns the policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Writes the staged entries to disk.
    ///
    /// # Errors
    ///
    /// [`ChainWriteError`] if writing fails.
    pub fn commit(&mut self, now: Now) -> Result<(), ChainWriteError> {
        self.journal.commit(now.time, now.monotonic)
    }

    /// Stages the counts of refusals that are due.
    pub fn stage_due(&mut self, now: Now) {
        self.journal.stage_due(now.time, now.monotonic, false);
    }

    /// Returns when [`Service::stage_due`] must be called next, on the monotonic clock.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.journal.next_due()
    }

    /// Stages all counts of refusals and the `stopped` entry.
    ///
    /// # Errors
    ///
    /// [`ChainWriteError`] if the entry cannot be encoded.
    pub fn stop(&mut self, now: Now) -> Result<(), ChainWriteError> {
        self.journal.stage_due(now.time, now.monotonic, true);
        self.journal.stage(now.time, JournalEvent::Stopped {})
    }

    /// Answers a request.
    pub fn handle(&mut self, request: &Request, now: Now) -> Answer {
        let outcome = match request {
            Request::Ping {} => return unrecorded(self.pong(now)),
            Request::RootPublicKey {} => {
                return unrecorded(Reply::RootPublicKey {
                    public_key: self.ca.public_line().to_owned(),
                });
            }
            Request::Sign { intent } => self.sign(intent, now),
            Request::Delegate {
                epoch,
                public_key,
                broker_id,
                mint_for,
            } => self.delegate(*epoch, *public_key, broker_id, *mint_for, now),
            Request::Checkpoint { log, from, hashes } => {
                match self.checkpoint(*log, *from, hashes, now) {
                    Err(CheckpointError::Mismatch(expected)) => {
                        return self.mismatch(*log, expected, now);
                    }
                    Err(CheckpointError::Refused(refusal)) => Err(refusal),
                    Ok(reply) => Ok(reply),
                }
            }
        };
        match outcome {
            Ok(reply) => Answer {
                reply,
                journaled: true,
            },
            Err(refusal) => self.refused(request, refusal, now),
        }
    }

    /// Answers bytes that are not a valid request.
    pub fn malformed(&mut self, why: &str, now: Now) -> Answer {
        self.note(RefusalKind::of(ErrorCode::Malformed), why, now);
        unrecorded(Reply::Error {
            code: ErrorCode::Malformed,
            message: why.to_owned(),
            expected: None,
        })
    }

    /// Records a connection from a user other than the broker.
    pub fn stranger(&mut self, uid: u32, now: Now) {
        let why = format!("connection from user {uid}, who is not the broker");
        self.note(RefusalKind::stranger(uid), &why, now);
    }

    fn pong(&self, now: Now) -> Reply {
        Reply::Pong {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: self.policy.hash(),
            uptime_seconds: now.monotonic.saturating_sub(self.started).as_secs(),
            sandbox: self.sandbox.clone(),
        }
    }

    fn sign(&mut self, intent: &Intent, now: Now) -> Result<Reply, Refusal> {
        // Unknown agent names get no window of their own: a broker could send arbitrarily many.
        let known = self.policy.agent(&intent.agent).map(|agent| &agent.name);
        self.limits
            .admit(known, now.monotonic)
            .map_err(rate_limited)?;
        let serial = Serial(u64::from_be_bytes(random().map_err(internal)?));
        let spec = derive(&self.policy, intent, now.time, serial)?;
        let certificate = self
            .ca
            .certify(&spec, random().map_err(internal)?)
            .map_err(internal)?;
        self.journal
            .stage(now.time, issued(&self.policy, intent, &spec))
            .map_err(internal)?;
        Ok(Reply::Certificate {
            certificate,
            serial,
            expires: spec.valid_before,
        })
    }

    fn delegate(
        &mut self,
        epoch: EpochId,
        public_key: PublicKeyBytes,
        broker_id: &BrokerId,
        mint_for: Option<Ttl>,
        now: Now,
    ) -> Result<Reply, Refusal> {
        self.limits
            .admit(None, now.monotonic)
            .map_err(rate_limited)?;
        let most = self.policy.signer().delegation_ttl.min(MAX_DELEGATION);
        let mint_for = mint_for.unwrap_or(most);
        if mint_for.is_zero() || mint_for > most {
            let message = format!(
                "the requested delegation of {mint_for} is outside the policy's range of 1s to {most} \
                 (signer.delegation_ttl)"
            );
            return Err(Refusal::new(ErrorCode::TtlTooLong, message));
        }
        let key = VerifyingKey::from_bytes(&public_key.0);
        if !key.is_ok_and(|key| !key.is_weak()) {
            let message = "the epoch's public key is not a usable Ed25519 key";
            return Err(Refusal::new(ErrorCode::BadPublicKey, message));
        }
        let mint_until = now.time.after(mint_for);
        // A token minted at the last moment must verify for the whole lifetime of its task.
        let valid_until = mint_until.after(MAX_ROOT_TTL);
        let payload = DelegationPayload {
            epoch,
            broker_id: broker_id.as_str().to_owned(),
            public_key: public_key.0,
            issued_at: now.time,
            mint_until,
            valid_until,
        };
        let signature = self.ca.delegate(payload).map_err(internal)?.signature;
        let event = JournalEvent::Delegated {
            epoch,
            broker_id: broker_id.as_str().to_owned(),
            mint_until,
            valid_until,
        };
        self.journal.stage(now.time, event).map_err(internal)?;
        Ok(Reply::Delegation {
            epoch,
            broker_id: broker_id.clone(),
            public_key,
            issued_at: now.time,
            mint_until,
            valid_until,
            signature,
        })
    }

    fn checkpoint(
        &mut self,
        log: RecordId,
        from: u64,
        hashes: &[Digest],
        now: Now,
    ) -> Result<Reply, CheckpointError> {
        self.limits
            .admit_checkpoint(now.monotonic)
            .map_err(|exceeded| CheckpointError::Refused(rate_limited(exceeded)))?;
        let mut fold = self.journal.fold(log).ok_or_else(|| {
            CheckpointError::Refused(Refusal::new(
                ErrorCode::RateLimited,
                "the signer's limit of audit logs is reached: move its journal away and restart it",
            ))
        })?;
        if fold.count() != from {
            return Err(CheckpointError::Mismatch(fold.count()));
        }
        for hash in hashes {
            fold.push(*hash);
        }
        let signed = self
            .ca
            .checkpoint(&fold, now.time)
            .map_err(|why| CheckpointError::Refused(internal(why)))?;
        self.journal
            .stage_fold(now.time, fold)
            .map_err(|why| CheckpointError::Refused(internal(why)))?;
        Ok(Reply::Checkpoint {
            log: signed.log,
            count: signed.count,
            head: signed.head,
            time: signed.time,
            signature: signed.signature,
        })
    }

    fn mismatch(&mut self, log: RecordId, expected: u64, now: Now) -> Answer {
        let message = format!(
            "the signer's head of log {log} covers {expected} records: continue from there"
        );
        self.note(
            RefusalKind::of(ErrorCode::CheckpointMismatch),
            &message,
            now,
        );
        unrecorded(Reply::Error {
            code: ErrorCode::CheckpointMismatch,
            message,
            expected: Some(expected),
        })
    }

    fn refused(&mut self, request: &Request, refusal: Refusal, now: Now) -> Answer {
        let mut kind = RefusalKind::of(refusal.code);
        if let Request::Sign { intent } = request {
            kind.agent = Some(intent.agent.clone());
            kind.target = Some(intent.target.clone());
            kind.role = Some(intent.role.clone());
        }
        self.note(kind, &refusal.message, now);
        unrecorded(Reply::Error {
            code: refusal.code,
            message: refusal.message,
            expected: None,
        })
    }

    /// Journals and logs a refusal if it is the first of its kind; otherwise only counts it.
    fn note(&mut self, kind: RefusalKind, why: &str, now: Now) {
        let code = kind.code.as_str();
        if self.journal.refuse(kind, now.time, now.monotonic) {
            log::warning(&format!("refused ({code}): {why}"));
        }
    }
}

fn unrecorded(reply: Reply) -> Answer {
    Answer {
        reply,
        journaled: false,
    }
}

/// The reason why a checkpoint is not signed.
enum CheckpointError {
    /// The request does not start at the signer's head, which covers this number of records.
    Mismatch(u64),
    Refused(Refusal),
}

/// Returns the reply that replaces a journaled one if the journal cannot be written.
#[must_use]
pub fn journal_failed(error: &ChainWriteError) -> Reply {
    Reply::Error {
        code: ErrorCode::JournalUnavailable,
        message: format!(
            "the signer's journal cannot be written and nothing is signed unrecorded: {error}"
        ),
        expected: None,
    }
}

fn issued(policy: &Policy, intent: &Intent, spec: &CertificateSpec) -> JournalEvent {
    let purpose = match intent.purpose {
        Purpose::Exec { .. } => "exec",
        Purpose::Session => "session",
        Purpose::User => "user",
        Purpose::Check => "check",
    };
    // The command may contain secrets. Its hash suffices to identify a known command.
    let command = spec.force_command.as_ref();
    let command = command.map(|text| Digest(Sha256::digest(text.as_bytes()).into()));
    JournalEvent::Issued {
        serial: spec.serial,
        agent: intent.agent.clone(),
        target: intent.target.clone(),
        role: intent.role.clone(),
        purpose: purpose.to_owned(),
        task: intent.task,
        root: intent.lineage.first().map(|(task, _)| *task),
        expires: spec.valid_before,
        key: KeyData::Ed25519(spec.public_key)
            .fingerprint(HashAlg::Sha256)
            .to_string(),
        command,
        policy: policy.hash(),
    }
}

/// Returns random bytes from getrandom(2). A library could fall back to a file, which the sandbox denies.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
    }
    Ok(bytes)
}

fn rate_limited(exceeded: Exceeded) -> Refusal {
    let (scope, rate) = match exceeded {
        Exceeded::Agent(rate) => ("this agent", rate),
        Exceeded::Everyone(rate) => ("the broker as a whole", rate),
    };
    let message = format!(
        "limit of {} requests per {} for {scope} exceeded: retry later",
        rate.count, rate.window
    );
    Refusal::new(ErrorCode::RateLimited, message)
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(ErrorCode::Internal, error.to_string())
}
