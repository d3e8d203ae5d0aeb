//! Why a login was refused.

use super::SshAction;
use super::pairing::{Pairing, Unpaired};
use super::reachable::{Reachable, reachable_in};
use crate::commands::CommandPolicy;
use ephyr_names::MAX_COMMAND_BYTES;

use crate::decide::denial::{Denial, MOST_ALTERNATIVES, ReasonCode, of_lineage};
use crate::decide::subject::{Request, Subject};
use crate::model::{Agent, Policy, Role};
use crate::sealed::SEALED_BEGINS;

/// Completes a denial of step 2 or 3: lists what the subject may use, the requested target's other roles first, and
/// hides whether a target exists that the subject cannot see.
///
/// The answer then depends only on the action, the subject's own envelope and the names of its lineage, so it is the
/// same for a target that does not exist, one granted to others and one switched off.
fn told(request: &Request<'_, '_>, action: &SshAction, denial: Denial) -> Denial {
    let (subject, seen) = (request.subject, reachable_in(request));
    let is_seen = seen.iter().any(|seen| seen.target.name == action.target);
    let denial = if is_seen {
        denial
    } else {
        let told = match &subject.envelope {
            Some(envelope) if !envelope.allows_ssh(&action.target, &action.role) => {
                not_in_envelope(action)
            }
            _ => not_granted(subject, action),
        };
        denial.told_as(told)
    };
    denial.or_else(others(&seen, action))
}

/// What the subject may use, the asked target's other roles first.
fn others(seen: &[Reachable<'_>], action: &SshAction) -> Vec<String> {
    let mut list: Vec<(bool, String)> = seen
        .iter()
        .filter(|reachable| reachable.enabled)
        .flat_map(|reachable| {
            let target = &reachable.target.name;
            let elsewhere = *target != action.target;
            reachable
                .roles
                .iter()
                .map(move |role| (elsewhere, format!("{target} as {}", role.name)))
        })
        .collect();
    list.sort();
    list.truncate(MOST_ALTERNATIVES);
    list.into_iter().map(|(_, text)| text).collect()
}

/// Returns the denial for a missing grant; its text also fits a target that does not exist.
fn not_granted(subject: &Subject, action: &SshAction) -> Denial {
    let agent = &subject.agent;
    let is_alone = subject.agents().all(|other| other == agent);
    let or_above = if is_alone {
        ""
    } else {
        ", or an agent above it in the task's lineage,"
    };
    let message = format!(
        "agent `{agent}`{or_above} has no role `{}` on a target `{}`; list_targets shows the targets and roles available to you",
        action.role, action.target
    );
    Denial::new(
        3,
        ReasonCode::RoleNotGranted,
        format!("agents.{agent}.ssh"),
        message,
    )
}

/// Returns the denial for a target outside the token, whether or not the target exists.
fn not_in_envelope(action: &SshAction) -> Denial {
    let message = format!(
        "the task's token does not allow role `{}` on `{}`",
        action.role, action.target
    );
    let rule = "token envelope".into();
    Denial::new(3, ReasonCode::OutsideEnvelope, rule, message)
}

pub(super) fn unpaired(request: &Request<'_, '_>, action: &SshAction, why: Unpaired) -> Denial {
    let message = why.to_string();
    let (step, reason, rule) = match why {
        Unpaired::Lineage(error) => return of_lineage(&error),
        Unpaired::TargetUnknown(_) => (2, ReasonCode::TargetUnknown, "targets".to_owned()),
        Unpaired::TargetDisabled(target) => (
            2,
            ReasonCode::TargetDisabled,
            format!("targets.{target}.enabled"),
        ),
        Unpaired::RoleNotGranted { agent, grant, .. } => (
            3,
            ReasonCode::RoleNotGranted,
            grant.map_or_else(|| format!("agents.{agent}.ssh"), |path| path + ".roles"),
        ),
        Unpaired::RoleNotAllowedOnTarget { target, .. } => (
            3,
            ReasonCode::RoleNotAllowedOnTarget,
            format!("targets.{target}.allowed_roles"),
        ),
    };
    told(request, action, Denial::new(step, reason, rule, message))
}

pub(super) fn outside_envelope(request: &Request<'_, '_>, action: &SshAction) -> Denial {
    told(request, action, not_in_envelope(action))
}

pub(super) fn not_unsealed(pairing: &Pairing<'_>) -> Denial {
    let role = &pairing.role.name;
    let (rule, why) = if pairing.role.commands.is_some() {
        (format!("roles.{role}.commands"), "has a command policy")
    } else {
        (
            format!("targets.{}.auto_approve", pairing.target.name),
            "needs approval",
        )
    };
    let message = format!(
        "role `{role}` {why}, so its certificates are sealed to one command; use exec (or set \
         roles.{role}.unsealed)"
    );
    Denial::new(3, ReasonCode::NotUnsealed, rule, message).or_else(vec!["exec".into()])
}

pub(super) fn bad_command() -> Denial {
    let message = format!("a command has 1 to {MAX_COMMAND_BYTES} bytes and no NUL among them");
    Denial::new(3, ReasonCode::CommandInvalid, "command".into(), message)
}

pub(super) fn command_with_proof() -> Denial {
    let message = format!(
        "a command must not contain `{}`: that text proves to the broker that a command began",
        SEALED_BEGINS.trim_end()
    );
    Denial::new(3, ReasonCode::CommandInvalid, "command".into(), message)
}

pub(super) fn command_not_allowed(role: &Role) -> Denial {
    let message = format!(
        "role `{}` may run only the commands of its list; a command with quotes, variables, pipes or \
         other shell syntax matches no pattern",
        role.name
    );
    let patterns = role.commands.iter().flat_map(CommandPolicy::patterns);
    Denial::new(
        3,
        ReasonCode::CommandNotAllowed,
        format!("roles.{}.commands", role.name),
        message,
    )
    .or_else(patterns.take(MOST_ALTERNATIVES).collect())
}

pub(super) fn no_time_left(action: &SshAction) -> Denial {
    if action.ttl.is_some_and(ephyr_names::Ttl::is_zero) {
        let message = "a certificate of no duration was asked for".to_owned();
        Denial::new(4, ReasonCode::DurationExhausted, "ttl".into(), message)
    } else {
        Denial::expired()
    }
}

pub(super) fn agent_limit(agent: &Agent) -> Denial {
    let message = format!(
        "agent `{}` has its {} certificates out; wait for one to end or release one",
        agent.name, agent.max_concurrent_certs
    );
    Denial::new(
        6,
        ReasonCode::AgentLimit,
        format!("agents.{}.max_concurrent_certs", agent.name),
        message,
    )
}

pub(super) fn global_limit(policy: &Policy) -> Denial {
    let message = format!(
        "all agents together have {} certificates out; try again when one has ended",
        policy.global.max_active_certs
    );
    Denial::new(
        7,
        ReasonCode::GlobalLimit,
        "global.max_active_certs".into(),
        message,
    )
}
