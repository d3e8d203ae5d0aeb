//! Denials of SSH actions.

use super::SshAction;
use super::reachable::{Reachable, reachable_in};
use crate::commands::CommandPolicy;
use crate::decide::pairing::{Pairing, Unpaired};
use ephyr_names::MAX_COMMAND_BYTES;

use crate::decide::denial::{Denial, MAX_ALTERNATIVES, ReasonCode};
use crate::decide::subject::{Request, Subject, lineage_denial};
use crate::model::{Agent, Policy, Role};
use crate::sealed::SEALED_BEGINS;

/// Completes a denial of step 2 or 3: adds the alternatives and hides whether a target exists that the subject cannot
/// see.
///
/// For such a target, the answer depends only on the action, the subject's own envelope and the names of its lineage,
/// so it is the same for a target that does not exist, one granted to others and one disabled.
fn answer(request: &Request<'_, '_>, action: &SshAction, denial: Denial) -> Denial {
    let (subject, seen) = (request.subject, reachable_in(request));
    let is_seen = seen.iter().any(|seen| seen.target.name == action.target);
    let denial = if is_seen {
        denial
    } else {
        let answer = match &subject.envelope {
            Some(envelope) if !envelope.allows_ssh(&action.target, &action.role) => {
                not_in_envelope(action)
            }
            _ => not_granted(subject, action),
        };
        denial.hidden_behind(answer)
    };
    denial.with_alternatives(alternatives(&seen, action))
}

/// Lists the targets and roles that the subject may use, those on the requested target first.
fn alternatives(seen: &[Reachable<'_>], action: &SshAction) -> Vec<String> {
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
    list.truncate(MAX_ALTERNATIVES);
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
        "agent `{agent}`{or_above} has no role `{}` on a target `{}`; list_targets shows the targets and roles \
         available to you",
        action.role, action.target
    );
    Denial::new(
        3,
        ReasonCode::RoleNotGranted,
        format!("agents.{agent}.ssh"),
        message,
    )
}

/// Returns the denial for a target outside the token's envelope, whether or not the target exists.
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
        Unpaired::Lineage(error) => return lineage_denial(&error),
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
    answer(request, action, Denial::new(step, reason, rule, message))
}

pub(super) fn outside_envelope(request: &Request<'_, '_>, action: &SshAction) -> Denial {
    answer(request, action, not_in_envelope(action))
}

pub(super) fn not_unsealed(pairing: &Pairing<'_>) -> Denial {
    let role = &pairing.role.name;
    let (rule, why) = if pairing.role.commands.is_some() {
        (format!("roles.{role}.commands"), "has a command policy")
    } else {
        (
            format!("targets.{}.auto_approve", pairing.target.name),
            "requires approval",
        )
    };
    let message = format!(
        "role `{role}` {why}, so its certificates are sealed to one command; use exec (or set \
         roles.{role}.unsealed)"
    );
    Denial::new(3, ReasonCode::NotUnsealed, rule, message).with_alternatives(vec!["exec".into()])
}

pub(super) fn bad_command() -> Denial {
    let message = format!("a command must have 1 to {MAX_COMMAND_BYTES} bytes and no NUL");
    Denial::new(3, ReasonCode::CommandInvalid, "command".into(), message)
}

pub(super) fn command_with_proof() -> Denial {
    let message = format!(
        "a command must not contain `{}`, which proves to the broker that a command started",
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
    .with_alternatives(patterns.take(MAX_ALTERNATIVES).collect())
}

pub(super) fn no_time_left(action: &SshAction) -> Denial {
    if action.ttl.is_some_and(ephyr_names::Ttl::is_zero) {
        let message = "the requested duration is zero".to_owned();
        Denial::new(4, ReasonCode::DurationExhausted, "ttl".into(), message)
    } else {
        Denial::expired()
    }
}

pub(super) fn agent_limit(agent: &Agent) -> Denial {
    let message = format!(
        "agent `{}` has reached its limit of {} active certificates; release one or wait until one expires",
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
        "the limit of {} active certificates of all agents together is reached; retry when one has ended",
        policy.global.max_active_certs
    );
    Denial::new(
        7,
        ReasonCode::GlobalLimit,
        "global.max_active_certs".into(),
        message,
    )
}
