//! Each denial of steps 1 to 3 beside an allowed twin that differs in one input.

use crate::world::{World, exec};
use ephyr_policy::{Purpose, ReasonCode, evaluate, preview};
use ephyr_token::{Envelope, Grants, Scope};

/// Asserts that the initial world allows the action and that, with the fault, this step refuses it for this reason
/// and rule. `preview` and `evaluate` must agree.
pub(crate) fn twin(step: u8, reason: ReasonCode, rule: &str, fault: impl FnOnce(&mut World)) {
    assert!(World::new().decide().is_ok());
    let mut world = World::new();
    fault(&mut world);
    refuses(&mut world, step, reason, rule);
}

pub(crate) fn refuses(world: &mut World, step: u8, reason: ReasonCode, rule: &str) {
    let policy = world.policy();
    let held = world.ledger.len();
    let denial = world.decide_by(&policy).unwrap_err();
    let cause = denial.cause();
    assert_eq!(
        (cause.step, cause.reason, cause.rule),
        (step, reason, rule),
        "{denial}"
    );
    assert!(denial.message.len() > 10);
    assert_eq!(world.ledger.len(), held, "a denial takes no slot");

    let (subject, action) = (&world.subject, &world.action);
    let asked = preview(&policy, &world.ledger, subject, action, world.now);
    assert_eq!(asked.unwrap_err(), denial);
    if !(5..=7).contains(&step) {
        let asked = evaluate(&policy, subject, action, world.now);
        assert_eq!(asked.unwrap_err(), denial);
    }
}

pub(crate) fn allows(fault: impl FnOnce(&mut World)) {
    let mut world = World::new();
    fault(&mut world);
    let policy = world.policy();
    let asked = preview(
        &policy,
        &world.ledger,
        &world.subject,
        &world.action,
        world.now,
    );
    let asked = asked.map(|granted| granted.ttl());
    assert_eq!(asked, world.decide_by(&policy).map(|permit| permit.ttl()));
    assert!(asked.is_ok(), "{asked:?}");
}

pub(crate) fn ask_certificate(world: &mut World) {
    world.ssh().purpose = Purpose::User;
}

#[test]
fn step_1_unknown_agent_is_refused() {
    twin(1, ReasonCode::AgentUnknown, "agents", |w| {
        w.subject.agent = "stranger".parse().unwrap();
    });
    twin(1, ReasonCode::AgentUnknown, "agents", |w| {
        w.subject.lineage[0].1 = "stranger".parse().unwrap();
    });
}

#[test]
fn step_1_lineage_and_envelope_must_come_together() {
    let reason = ReasonCode::SubjectInconsistent;
    twin(1, reason, "token envelope", |w| w.subject.envelope = None);
    twin(1, reason, "token envelope", |w| w.subject.lineage.clear());
    twin(1, reason, "token lineage", |w| {
        w.subject.agent = "parent".parse().unwrap();
    });
    allows(|w| {
        w.subject.envelope = None;
        w.subject.lineage.clear();
    });
}

#[test]
fn step_1_delegation_must_still_be_accepted_by_the_policy() {
    let rule = "agents.child.accept_delegation_from";
    twin(1, ReasonCode::DelegationNotAccepted, rule, |w| {
        w.edit(
            "accept_delegation_from: [parent]",
            "accept_delegation_from: []",
        );
    });
    allows(|w| w.subject.lineage[0].1 = "child".parse().unwrap());
}

#[test]
fn step_1_delegated_only_agent_needs_a_delegated_token() {
    let (reason, rule) = (ReasonCode::DelegatedOnly, "agents.child.delegated_only");
    let only = |w: &mut World| {
        let to = "accept_delegation_from: [parent]\n    delegated_only: true";
        w.edit("accept_delegation_from: [parent]", to);
    };
    allows(only);
    twin(1, reason, rule, |w| {
        only(w);
        w.subject.lineage.clear();
        w.subject.envelope = None;
    });
    twin(1, reason, rule, |w| {
        only(w);
        w.subject.lineage.remove(0);
    });
}

#[test]
fn step_2_target_must_exist_and_be_enabled() {
    twin(2, ReasonCode::TargetUnknown, "targets", |w| {
        w.ssh().target = "wbe".parse().unwrap();
    });
    twin(2, ReasonCode::TargetDisabled, "targets.web.enabled", |w| {
        w.edit("enabled: true", "enabled: false");
    });
    allows(|w| {
        w.edit(
            "allowed_roles: [read]\n",
            "allowed_roles: [read]\n    enabled: false\n",
        );
    });
}

#[test]
fn step_3_every_agent_of_the_lineage_needs_the_role() {
    twin(
        3,
        ReasonCode::RoleNotGranted,
        "agents.child.ssh.web.roles",
        |w| {
            w.edit(
                "web: { roles: [read, look, admin] }",
                "web: { roles: [look, admin] }",
            );
        },
    );
    twin(
        3,
        ReasonCode::RoleNotGranted,
        "agents.parent.ssh.web.roles",
        |w| {
            w.ssh().role = "admin".parse().unwrap();
        },
    );
    twin(3, ReasonCode::RoleNotGranted, "agents.child.ssh", |w| {
        w.ssh().target = "db".parse().unwrap();
    });
    allows(|w| {
        w.ssh().role = "admin".parse().unwrap();
        w.edit(
            "web: { roles: [read, look] }",
            "web: { roles: [read, look, admin] }",
        );
    });
}

#[test]
fn step_3_role_must_exist_on_the_target() {
    twin(
        3,
        ReasonCode::RoleNotAllowedOnTarget,
        "targets.web.allowed_roles",
        |w| {
            w.edit(
                "allowed_roles: [read, look, admin]",
                "allowed_roles: [look, admin]",
            );
        },
    );
    // An undeclared role cannot be granted.
    twin(
        3,
        ReasonCode::RoleNotGranted,
        "agents.child.ssh.web.roles",
        |w| {
            w.ssh().role = "root".parse().unwrap();
        },
    );
}

#[test]
fn step_3_named_grant_replaces_the_star_grant() {
    let any = |w: &mut World| {
        w.edit(
            "web: { roles: [read, look, admin] }",
            "'*': { roles: [read] }",
        );
        w.edit("web: { roles: [read, look] }", "'*': { roles: [read] }");
    };
    allows(any);
    twin(
        3,
        ReasonCode::RoleNotGranted,
        "agents.child.ssh.web.roles",
        |w| {
            any(w);
            w.edit(
                "'*': { roles: [read] }\n      db",
                "'*': { roles: [read] }\n      web: { roles: [read] }\n      db",
            );
            w.text.push_str("      web: { roles: [look] }\n");
        },
    );
}

#[test]
fn step_3_token_narrows_targets_and_roles_as_pairs() {
    let (reason, rule) = (ReasonCode::OutsideEnvelope, "token envelope");
    let pairs = |pairs: &[(&str, &str)]| -> Grants<_, _> {
        let parse = |(t, r): &(&str, &str)| (t.parse().unwrap(), r.parse().unwrap());
        pairs.iter().map(parse).collect()
    };
    let envelope = |w: &mut World, change: &dyn Fn(&mut Envelope)| {
        change(w.subject.envelope.as_mut().unwrap());
    };
    twin(3, reason, rule, |w| {
        envelope(w, &|e| e.ssh = Grants::none());
    });
    twin(3, reason, rule, |w| {
        envelope(w, &|e| e.targets = Scope::none());
    });
    twin(3, reason, rule, |w| {
        envelope(w, &|e| e.roles = Scope::none());
    });
    twin(3, reason, rule, |w| {
        envelope(w, &|e| e.ssh = pairs(&[("web", "look"), ("db", "read")]));
    });
    allows(|w| envelope(w, &|e| e.ssh = pairs(&[("web", "read"), ("db", "look")])));
}

#[test]
fn step_3_commands_or_approvals_require_sealed_certificates() {
    let reason = ReasonCode::NotUnsealed;
    allows(ask_certificate);
    let ask = |w: &mut World| {
        w.ssh().role = "look".parse().unwrap();
        w.ssh().purpose = Purpose::User;
    };
    twin(3, reason, "roles.look.commands", ask);
    allows(|w| {
        ask(w);
        w.edit(
            "commands: [uptime, 'cat *']",
            "commands: [uptime], unsealed: true",
        );
    });
    twin(3, reason, "targets.web.auto_approve", |w| {
        w.ssh().purpose = Purpose::User;
        w.edit("auto_approve: true", "auto_approve: false");
    });
    allows(|w| w.ssh().role = "look".parse().unwrap());
}

#[test]
fn step_3_role_with_commands_runs_nothing_else() {
    let (reason, rule) = (ReasonCode::CommandNotAllowed, "roles.look.commands");
    for command in [
        "reboot",
        "uptime;id",
        "uptime ",
        "cat",
        "cat x|sh",
        "cat $(id)",
        "cat x\nid",
    ] {
        twin(3, reason, rule, |w| w.action = exec("web", "look", command));
        allows(|w| w.action = exec("web", "read", command));
    }
    for command in ["uptime", "cat /etc/os-release"] {
        allows(|w| w.action = exec("web", "look", command));
    }
}

#[test]
fn step_3_invalid_commands_are_refused() {
    let (reason, rule) = (ReasonCode::CommandInvalid, "command");
    let long = "x".repeat(16 * 1024);
    for command in ["", "a\0b", &format!("{long}x"), "echo ephyr-sealed-42"] {
        twin(3, reason, rule, |w| w.action = exec("web", "read", command));
    }
    for command in [&long, "echo ephyr-sealed"] {
        allows(|w| w.action = exec("web", "read", command));
    }
}
