//! Steps 2 to 8 for a login to a target.

mod denial;
mod pairing;
mod permit;
mod reachable;

use ephyr_names::{MAX_COMMAND_BYTES, RoleName, TargetName, Timestamp, Ttl};

pub use self::pairing::{Pairing, Unpaired};
pub use self::permit::{ResolvedTarget, SshPermit};
pub use self::reachable::{Reachable, reachable};

use super::denial::Denial;
use super::slots::{CertificateKind, Full, Ledger, Limits, Room, SlotRequest};
use super::steps::Steps;
use super::subject::{Authorization, Request, Subject};
use super::{Action, approval};
use crate::model::{Agent, Role, Target};
use crate::sealed::SEALED_BEGINS;

/// Longest life of a certificate that is sealed to one command: long enough to log in.
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
    /// The requested life of the certificate; `None`: the policy's default.
    pub ttl: Option<Ttl>,
}

/// The purpose of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// One command.
    Exec {
        /// The command, as the account's shell gets it.
        command: String,
    },
    /// A certificate in the agent's hands.
    User,
}

impl Purpose {
    /// Returns the kind of certificate that the purpose needs.
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
    /// Returns the agent that would act.
    #[must_use]
    pub fn agent(&self) -> &'p Agent {
        self.pairing.agent()
    }

    /// Returns the target.
    #[must_use]
    pub fn target(&self) -> &'p Target {
        self.pairing.target()
    }

    /// Returns the role on it.
    #[must_use]
    pub fn role(&self) -> &'p Role {
        self.pairing.role()
    }

    /// Returns the life of the certificate.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }
}

impl Action for SshAction {}

impl Steps for SshAction {
    type Granted<'p> = SshGranted<'p>;
    type Room = Room;
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

    fn room(
        &self,
        granted: &SshGranted<'_>,
        request: &Request<'_, '_>,
        ledger: &Ledger,
    ) -> Result<Room, Denial> {
        let limits = Limits {
            agent: granted.agent().max_concurrent_certs as usize,
            global: request.policy.global.max_active_certs as usize,
        };
        let room = ledger.room(&self.slot(request.subject), limits, request.now);
        room.map_err(|full| match full {
            Full::Agent => denial::agent_limit(granted.agent()),
            Full::Global => denial::global_limit(request.policy),
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
        room: Room,
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
        let taken = ledger.take(&wanted, room, now, expires);
        SshPermit::new(authorization, &granted, self.purpose.clone(), taken)
    }
}

impl SshAction {
    fn slot<'a>(&'a self, subject: &'a Subject) -> SlotRequest<'a> {
        SlotRequest {
            agent: &subject.agent,
            lineage: &subject.lineage,
            target: &self.target,
            role: &self.role,
            kind: self.purpose.kind(),
        }
    }

    /// Step 4: the least of the requested duration (or the default), the target's and the global maximum, and the
    /// token's remaining life; a sealed certificate lives only as long as a login takes.
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

/// The part of step 3 that is about the purpose of the login.
fn check_purpose(pairing: &Pairing<'_>, purpose: &Purpose) -> Result<(), Denial> {
    match purpose {
        Purpose::Exec { command } => {
            if command.is_empty() || command.len() > MAX_COMMAND_BYTES || command.contains('\0') {
                return Err(denial::bad_command());
            }
            // sshd passes the words of the request on. A target that runs something else in the command's place and
            // repeats them would seem to have run it.
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
