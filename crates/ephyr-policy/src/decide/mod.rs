//! The decision path: eight steps, in order, the same for every way in.
//!
//! 1. the agent (and each agent of its token's lineage) is known and not frozen;
//! 2. the target exists and is switched on;
//! 3. the role is granted: policy of every agent in the lineage ∩ the target's `allowed_roles` ∩ the
//!    token's envelope; and the purpose fits the role;
//! 4. the certificate's life is clamped;
//! 5. a new `session` or `user` certificate replaces the old one of the same agent, task, target and role;
//! 6. the agent has a slot free;
//! 7. there is a slot free at all;
//! 8. a human approved, where one must.
//!
//! [`authorize`] is the whole of it and the only maker of a [`Permit`]. [`evaluate`] and [`preview`] answer
//! the same question and change nothing.

mod denial;
mod permit;
mod reachable;
mod request;

use std::collections::BTreeSet;
use std::sync::Arc;

use ephyr_names::{TargetName, Timestamp, Ttl};
use ephyr_token::Envelope;

pub use denial::{Cause, Denial, ReasonCode};
pub use permit::{Permit, ResolvedTarget};
pub use reachable::{Reachable, reachable};
pub use request::{Action, Purpose, SshAction, Subject};

use crate::commands::MAX_COMMAND_BYTES;
use crate::ledger::{Full, Ledger, Limits, Room, Wanted};
use crate::model::{Agent, Approval, Policy, Role, Target};
use crate::pairing::{self, Pairing};
use crate::sealed::SEALED_BEGINS;

/// Longest life of a certificate that is sealed to one command: long enough to log in.
pub const SEALED_TTL: Ttl = Ttl::from_secs(60);

/// What operators switched off while the broker runs.
#[derive(Debug, Clone, Default)]
pub struct Switches {
    /// Targets that nobody may use.
    pub disabled_targets: BTreeSet<TargetName>,
}

/// The answer to a request.
#[derive(Debug)]
#[must_use = "a decision that nobody looks at decides nothing"]
pub enum Decision {
    /// Go ahead, with this proof.
    Permit(Permit),
    /// No.
    Denied(Denial),
}

/// What [`evaluate`] found: the action would be allowed, as far as it depends on no other's certificates.
#[derive(Debug, Clone, Copy)]
pub struct Granted<'p> {
    agent: &'p Arc<Agent>,
    target: &'p Arc<Target>,
    role: &'p Arc<Role>,
    ttl: Ttl,
    approval: Option<Approval>,
}

impl<'p> Granted<'p> {
    /// The agent that would act.
    #[must_use]
    pub fn agent(&self) -> &'p Agent {
        self.agent
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &'p Target {
        self.target
    }

    /// The role on it.
    #[must_use]
    pub fn role(&self) -> &'p Role {
        self.role
    }

    /// How long the certificate would live.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }
}

/// Steps 1 to 4, and whether step 8 could ever pass. Looks at no other certificates and changes nothing.
///
/// # Errors
/// The [`Denial`] of the first step that refuses.
pub fn evaluate<'p>(
    policy: &'p Policy,
    switches: &Switches,
    subject: &Subject,
    action: &Action,
    now: Timestamp,
) -> Result<Granted<'p>, Denial> {
    let Action::Ssh(action) = action;
    let granted = grant(policy, switches, subject, action, now)?;
    approve(&granted)?;
    Ok(granted)
}

/// All eight steps, as [`authorize`] would take them now, but nothing is reserved (`dry_run`).
///
/// # Errors
/// The [`Denial`] of the first step that refuses.
pub fn preview<'p>(
    policy: &'p Policy,
    switches: &Switches,
    ledger: &Ledger,
    subject: &Subject,
    action: &Action,
    now: Timestamp,
) -> Result<Granted<'p>, Denial> {
    let Action::Ssh(action) = action;
    let granted = grant(policy, switches, subject, action, now)?;
    room(policy, ledger, &granted, &wanted(subject, action), now)?;
    approve(&granted)?;
    Ok(granted)
}

/// All eight steps. A permit holds a slot from here on, taken in the same call that saw it free.
pub fn authorize(
    policy: &Policy,
    switches: &Switches,
    ledger: &mut Ledger,
    subject: &Subject,
    action: &Action,
    now: Timestamp,
) -> Decision {
    match reserve(policy, switches, ledger, subject, action, now) {
        Ok(permit) => Decision::Permit(permit),
        Err(denial) => Decision::Denied(denial),
    }
}

fn reserve(
    policy: &Policy,
    switches: &Switches,
    ledger: &mut Ledger,
    subject: &Subject,
    action: &Action,
    now: Timestamp,
) -> Result<Permit, Denial> {
    let Action::Ssh(action) = action;
    let granted = grant(policy, switches, subject, action, now)?;
    let wanted = wanted(subject, action);
    let room = room(policy, ledger, &granted, &wanted, now)?;
    approve(&granted)?;
    let expires = wanted.kind.renews().then(|| now.after(granted.ttl));
    let slot = ledger.take(&wanted, room, now, expires);
    let purpose = action.purpose.clone();
    Ok(Permit::new(
        &granted,
        subject,
        purpose,
        slot,
        now,
        policy.hash(),
    ))
}

/// Steps 1 to 4.
fn grant<'p>(
    policy: &'p Policy,
    switches: &Switches,
    subject: &Subject,
    action: &SshAction,
    now: Timestamp,
) -> Result<Granted<'p>, Denial> {
    let refuse = |unpaired| denial::unpaired(policy, subject, action, unpaired);

    let acting = pairing::check_agents(policy, &subject.agent, subject.agents()).map_err(refuse)?;
    if subject.frozen {
        return Err(denial::frozen(subject));
    }
    // Authority comes from the policy and, under a token, from its envelope as well: a token without one
    // must not count as no token.
    if subject.envelope.is_some() == subject.lineage.is_empty() {
        return Err(denial::inconsistent());
    }

    let target = pairing::check_target(policy, acting, &action.target).map_err(refuse)?;
    if switches.disabled_targets.contains(&target.name) {
        return Err(denial::switched_off(policy, subject, action));
    }

    let pairing = pairing::check_roles(policy, acting, subject.agents(), target, &action.role)
        .map_err(refuse)?;
    let envelope = subject.envelope.as_ref();
    if envelope.is_some_and(|e| !e.allows_ssh(&action.target, &action.role)) {
        return Err(denial::outside_envelope(policy, subject, action));
    }
    check_purpose(&pairing, &action.purpose)?;

    let ttl = clamp(policy, target, action, envelope, now);
    if ttl.is_zero() {
        return Err(denial::no_time_left(action));
    }
    Ok(Granted {
        agent: acting,
        target,
        role: pairing.role,
        ttl,
        approval: pairing.approval,
    })
}

/// The part of step 3 that is about what the login is for.
fn check_purpose(pairing: &Pairing<'_>, purpose: &Purpose) -> Result<(), Denial> {
    let role = pairing.role;
    match purpose {
        Purpose::Exec {
            command,
            stdin_digest,
        } => {
            if command.is_empty() || command.len() > MAX_COMMAND_BYTES || command.contains('\0') {
                return Err(denial::bad_command());
            }
            // sshd passes the words of the request on. A target that runs something else in the command's place and
            // repeats them would seem to have run it.
            if command.contains(SEALED_BEGINS.trim_end()) {
                return Err(denial::command_with_proof());
            }
            if !role.allows_command(command) {
                return Err(denial::command_not_allowed(role));
            }
            if stdin_digest.is_some() {
                return Err(denial::stdin_not_allowed(role));
            }
        }
        Purpose::Session | Purpose::User => {
            if pairing.must_be_sealed() {
                return Err(denial::not_unsealed(pairing));
            }
        }
        Purpose::Check => {}
    }
    Ok(())
}

/// Step 4: the least of what was asked for (or the default), the target's and the global greatest, and
/// what is left of the token; a sealed certificate lives only as long as a login takes.
fn clamp(
    policy: &Policy,
    target: &Target,
    action: &SshAction,
    envelope: Option<&Envelope>,
    now: Timestamp,
) -> Ttl {
    let mut ttl = action.ttl.unwrap_or(policy.global.default_ttl);
    ttl = ttl.min(target.max_ttl).min(policy.global.max_ttl);
    if let Some(envelope) = envelope {
        ttl = ttl.min(envelope.expires.since(now));
    }
    if action.purpose.is_sealed() {
        ttl = ttl.min(SEALED_TTL);
    }
    ttl
}

fn wanted<'a>(subject: &'a Subject, action: &'a SshAction) -> Wanted<'a> {
    Wanted {
        agent: &subject.agent,
        lineage: &subject.lineage,
        target: &action.target,
        role: &action.role,
        kind: action.purpose.kind(),
    }
}

/// Steps 5 to 7.
fn room(
    policy: &Policy,
    ledger: &Ledger,
    granted: &Granted<'_>,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<Room, Denial> {
    let limits = Limits {
        agent: granted.agent.max_concurrent_certs as usize,
        global: policy.global.max_active_certs as usize,
    };
    ledger.room(wanted, limits, now).map_err(|full| match full {
        Full::Agent => denial::agent_limit(granted.agent),
        Full::Global => denial::global_limit(policy),
    })
}

/// Step 8.
fn approve(granted: &Granted<'_>) -> Result<(), Denial> {
    match granted.approval {
        None => Ok(()),
        Some(_) => Err(denial::approval_unavailable(granted)),
    }
}
