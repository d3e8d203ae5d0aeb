//! Steps 2 to 8 for a login to a target.

mod denial;
mod permit;
mod reachable;

use ephyr_names::{MAX_COMMAND_BYTES, RoleName, TargetName, Timestamp, Ttl};

pub use self::permit::{ResolvedTarget, SshPermit};
pub use self::reachable::{Reachable, reachable};

use super::denial::Denial;
use super::pairing::{self, Pairing};
use super::slots::{CertificateKind, FreeSlot, Ledger, LimitReached, Limits, SlotRequest};
use super::steps::Steps;
use super::subject::{Authorization, Request, Subject};
use super::{Action, approval};
use crate::model::{Agent, Role, Target};
use crate::sealed::SEALED_BEGINS;

/// Maximum lifetime of a certificate that is sealed to one command: it only has to last for the login.
pub const SEALED_TTL: Ttl = Ttl::from_secs(60);

/// A login to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAction {
    /// The target.
    pub target: TargetName,
    /// The role on it.
    pub role: RoleName,
    /// The purpose.
    pub purpose: Purpose,
    /// The requested lifetime of the certificate; `None`: the policy's default.
    pub ttl: Option<Ttl>,
}

/// The purpose of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// To run one command.
    Exec {
        /// The command for the account's shell.
        command: String,
    },
    /// To issue a certificate to the agent.
    User,
}

impl Purpose {
    /// Returns the type of certificate that the purpose requires.
    #[must_use]
    pub fn kind(&self) -> CertificateKind {
        match self {
            Self::Exec { .. } => CertificateKind::Exec,
            Self::User => CertificateKind::User,
        }
    }

    /// Returns whether the certificate is sealed to one command.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self, Self::Exec { .. })
    }
}

/// A login that steps 1 to 4 allow.
#[derive(Debug, Clone, Copy)]
pub struct SshGranted<'p> {
    pairing: Pairing<'p>,
    ttl: Ttl,
}

impl<'p> SshGranted<'p> {
    /// Returns the acting agent.
    #[must_use]
    pub fn agent(&self) -> &'p Agent {
        self.pairing.agent()
    }

    /// Returns the target.
    #[must_use]
    pub fn target(&self) -> &'p Target {
        self.pairing.target()
    }

    /// Returns the role on the target.
    #[must_use]
    pub fn role(&self) -> &'p Role {
        self.pairing.role()
    }

    /// Returns the lifetime of the certificate.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }
}

impl Action for SshAction {}

impl Steps for SshAction {
    type Granted<'p> = SshGranted<'p>;
    type FreeSlot = FreeSlot;
    type Permit = SshPermit;

    fn grant<'p>(&self, request: &Request<'p, '_>) -> Result<SshGranted<'p>, Denial> {
        let refuse = |unpaired| denial::unpaired(request, self, unpaired);
        let (policy, acting) = (request.policy, request.acting);
        let target = pairing::check_target(policy, acting, &self.target).map_err(refuse)?;
        let lineage = request.subject.agents();
        let pairing =
            pairing::check_roles(policy, acting, lineage, target, &self.role).map_err(refuse)?;
        let envelope = request.envelope();
        if envelope.is_some_and(|e| !e.allows_ssh(&self.target, &self.role)) {
            return Err(denial::outside_envelope(request, self));
        }
        check_purpose(&pairing, &self.purpose)?;
        let ttl = self.clamp(request, target);
        if ttl.is_zero() {
            return Err(denial::no_time_left(self));
        }
        Ok(SshGranted { pairing, ttl })
    }

    fn find_slot(
        &self,
        granted: &SshGranted<'_>,
        request: &Request<'_, '_>,
        ledger: &Ledger,
    ) -> Result<FreeSlot, Denial> {
        let limits = Limits {
            agent: granted.agent().max_concurrent_certs as usize,
            global: request.policy.global.max_active_certs as usize,
        };
        let free = ledger.find_slot(&self.slot_request(request.subject), limits, request.now);
        free.map_err(|limit| match limit {
            LimitReached::Agent => denial::agent_limit(granted.agent()),
            LimitReached::Global => denial::global_limit(request.policy),
        })
    }

    fn approve(granted: &SshGranted<'_>) -> Result<(), Denial> {
        approval::check(&granted.pairing)
    }

    fn permit(
        &self,
        granted: SshGranted<'_>,
        authorization: Authorization,
        ledger: &mut Ledger,
        free: FreeSlot,
        now: Timestamp,
    ) -> SshPermit {
        let wanted = SlotRequest {
            agent: authorization.agent(),
            lineage: authorization.lineage(),
            target: &self.target,
            role: &self.role,
            kind: self.purpose.kind(),
        };
        let expires = wanted.kind.renews().then(|| now.after(granted.ttl));
        let taken = ledger.take(&wanted, free, now, expires);
        SshPermit::new(authorization, &granted, self.purpose.clone(), taken)
    }
}

impl SshAction {
    fn slot_request<'a>(&'a self, subject: &'a Subject) -> SlotRequest<'a> {
        SlotRequest {
            agent: &subject.agent,
            lineage: &subject.lineage,
            target: &self.target,
            role: &self.role,
            kind: self.purpose.kind(),
        }
    }

    /// Step 4: returns the minimum of the requested duration (or the default), the target's and the global maximum,
    /// the token's remaining lifetime and, for a sealed certificate, [`SEALED_TTL`].
    fn clamp(&self, request: &Request<'_, '_>, target: &Target) -> Ttl {
        let global = &request.policy.global;
        let mut ttl = self.ttl.unwrap_or(global.default_ttl);
        ttl = ttl.min(target.max_ttl).min(global.max_ttl);
        if let Some(envelope) = request.envelope() {
            ttl = ttl.min(envelope.expires.since(request.now));
        }
        if self.purpose.is_sealed() {
            ttl = ttl.min(SEALED_TTL);
        }
        ttl
    }
}

/// The part of step 3 that concerns the purpose of the login.
fn check_purpose(pairing: &Pairing<'_>, purpose: &Purpose) -> Result<(), Denial> {
    match purpose {
        Purpose::Exec { command } => {
            if command.is_empty() || command.len() > MAX_COMMAND_BYTES || command.contains('\0') {
                return Err(denial::bad_command());
            }
            // A target may run something else in place of the command and print the request. Such output must not
            // contain the proof that the command started.
            if command.contains(SEALED_BEGINS.trim_end()) {
                return Err(denial::command_with_proof());
            }
            if !pairing.role().allows_command(command) {
                return Err(denial::command_not_allowed(pairing.role()));
            }
        }
        Purpose::User => {
            if pairing.must_be_sealed() {
                return Err(denial::not_unsealed(pairing));
            }
        }
    }
    Ok(())
}
