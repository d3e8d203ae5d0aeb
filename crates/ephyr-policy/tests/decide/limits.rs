//! Steps 4 to 8: each denial beside an allowed twin.

use ephyr_names::{Timestamp, Ttl};
use ephyr_policy::{Purpose, ReasonCode, SEALED_TTL};

use crate::twins::{allows, ask_certificate, refuses, twin};
use crate::world::{World, exec, login, task};

#[test]
fn step_4_exhausted_token_or_zero_ttl_is_refused() {
    let (reason, rule) = (ReasonCode::DurationExhausted, "token envelope");
    let expire = |w: &mut World, millis: i64| {
        let expires = Timestamp::from_unix_millis(w.now.unix_millis() + millis);
        w.subject.envelope.as_mut().unwrap().expires = expires;
    };
    for millis in [-1, 0, 999] {
        twin(4, reason, rule, |w| expire(w, millis));
    }
    allows(|w| expire(w, 1000));
    twin(4, reason, "ttl", |w| w.ssh().ttl = Some(Ttl::from_secs(0)));
    allows(|w| w.ssh().ttl = Some(Ttl::from_secs(1)));
}

#[test]
fn step_4_lifetime_is_the_minimum_of_all_limits() {
    let ttl = |change: &dyn Fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        world.decide().unwrap().ttl().as_secs()
    };
    let ask = |w: &mut World, seconds| {
        w.ssh().purpose = Purpose::User;
        w.ssh().ttl = Some(Ttl::from_secs(seconds));
    };
    let late = |w: &mut World| {
        w.subject.envelope.as_mut().unwrap().expires = w.now.after(Ttl::from_secs(36_000));
    };
    assert_eq!(ttl(&|w| ask_certificate(w)), 300, "the default");
    assert_eq!(ttl(&|w| ask(w, 7)), 7, "the requested duration");
    assert_eq!(
        ttl(&|w| ask(w, 5000)),
        600,
        "the token's remaining lifetime"
    );
    assert_eq!(
        ttl(&|w| {
            late(w);
            ask(w, 5000);
        }),
        1200,
        "the target's maximum"
    );
    assert_eq!(
        ttl(&|w| {
            late(w);
            ask(w, 5000);
            w.edit("    max_ttl: 20m\n", "");
        }),
        1800,
        "the global maximum"
    );
    assert_eq!(
        ttl(&|_| {}),
        SEALED_TTL.as_secs(),
        "a sealed certificate only lasts for the login"
    );
    assert_eq!(ttl(&|w| w.ssh().ttl = Some(Ttl::from_secs(9))), 9);
}

#[test]
fn step_5_certificate_is_renewed_even_at_the_limit() {
    let mut world = World::new();
    world.edit(
        "max_concurrent_certs: 2\n    accept",
        "max_concurrent_certs: 1\n    accept",
    );
    world.edit(
        "web: { roles: [read, look] }",
        "web: { roles: [read, look, admin] }",
    );
    ask_certificate(&mut world);
    let first = world.decide().unwrap();
    let second = world.decide().unwrap();
    assert_eq!(
        second.replaced().iter().map(|e| e.slot).collect::<Vec<_>>(),
        [first.slot()]
    );
    assert_eq!(world.ledger.len(), 1);
    // An exec, another role and another task do not renew the certificate.
    for other in [
        exec("web", "read", "uptime"),
        login("web", "admin", Purpose::User),
    ] {
        world.action = other;
        refuses(
            &mut world,
            6,
            ReasonCode::AgentLimit,
            "agents.child.max_concurrent_certs",
        );
    }
    ask_certificate(&mut world);
    world.subject.lineage[1].0 = task(9);
    world.action = login("web", "read", Purpose::User);
    refuses(
        &mut world,
        6,
        ReasonCode::AgentLimit,
        "agents.child.max_concurrent_certs",
    );
}

#[test]
fn step_6_agent_limit_is_enforced() {
    let mut world = World::new();
    let first = world.decide().unwrap();
    let _second = world.decide().unwrap();
    refuses(
        &mut world,
        6,
        ReasonCode::AgentLimit,
        "agents.child.max_concurrent_certs",
    );
    world.ledger.release(first.slot());
    assert!(world.decide().is_ok());
}

#[test]
fn step_7_global_limit_is_enforced() {
    let mut world = World::new();
    world.edit("max_active_certs: 4", "max_active_certs: 1");
    let first = world.decide().unwrap();
    refuses(
        &mut world,
        7,
        ReasonCode::GlobalLimit,
        "global.max_active_certs",
    );
    world.ledger.release(first.slot());
    assert!(world.decide().is_ok());
}

#[test]
fn step_8_action_that_requires_approval_is_refused() {
    let reason = ReasonCode::ApprovalUnavailable;
    twin(8, reason, "targets.web.auto_approve", |w| {
        w.edit("auto_approve: true", "auto_approve: false");
    });
    twin(8, reason, "agents.child.ssh.web.auto_approve", |w| {
        w.edit(
            "roles: [read, look, admin] }",
            "roles: [read, look, admin], auto_approve: false }",
        );
    });
    twin(8, reason, "token lineage", |w| {
        w.edit(
            "roles: [read, look] }",
            "roles: [read, look], auto_approve: false }",
        );
    });
}
