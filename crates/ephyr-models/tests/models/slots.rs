//! Concurrent requests for the same slots.

use std::sync::{Arc, LazyLock};

use ephyr_models::gate::{Gate, Held};
use ephyr_names::Serial;
use ephyr_policy::{Policy, Purpose, Subject, load};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::world::{NOW, action, agent, check, command, later, must_break};

const LIMIT: usize = 2;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let text = r#"{
        "global": {"max_active_certs": 2, "default_ttl": "5m", "max_ttl": "30m"},
        "roles": {"read": {"principal": "agent-read"}},
        "targets": {"web": {
            "host": "127.0.0.1", "allowed_roles": ["read"], "auto_approve": true,
            "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBFb0pR5mR0UgbYKcqoUIkxBSF1sNaC/hxrFKJ9XBTHE"
        }},
        "agents": {
            "a": {"uid": 4001, "max_concurrent_certs": 2, "ssh": {"web": {"roles": ["read"]}}},
            "b": {"uid": 4002, "max_concurrent_certs": 2, "ssh": {"web": {"roles": ["read"]}}}
        }
    }"#;
    load(text.as_bytes(), "model").unwrap_or_else(|error| panic!("{error}"))
});

fn subject(n: usize) -> Subject {
    Subject::direct(agent(["a", "b"][n % 2]))
}

type Take = fn(&Arc<Gate>, usize) -> Option<Option<Held>>;

fn take(gate: &Arc<Gate>, n: usize) -> Option<Option<Held>> {
    let held = gate.authorize(&POLICY, &subject(n), &command(), NOW);
    held.ok().map(Some)
}

/// Four requests of two agents compete for two slots, each twice.
fn model(take: Take) {
    let gate = Arc::new(Gate::default());
    let running = Arc::new(AtomicUsize::new(0));
    let requests: Vec<_> = (0..4)
        .map(|n| {
            let (gate, running) = (Arc::clone(&gate), Arc::clone(&running));
            thread::spawn(move || {
                for _ in 0..2 {
                    let Some(held) = take(&gate, n) else { continue };
                    let with_me = 1 + running.fetch_add(1, Ordering::SeqCst);
                    assert!(with_me <= LIMIT, "{with_me} requests hold a slot");
                    thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                }
            })
        })
        .collect();
    assert!(gate.active(NOW) <= LIMIT);
    for request in requests {
        request.join().unwrap();
    }
    assert_eq!(gate.active(NOW), 0, "a slot was not freed");
}

#[test]
fn slots_never_exceed_the_limit_and_are_all_freed() {
    check(|| model(take));
}

#[test]
fn preview_without_a_slot_is_caught() {
    must_break(|| {
        model(|gate, n| {
            let looked = gate.preview(&POLICY, &subject(n), &command(), NOW);
            looked.ok().map(|_| None)
        });
    });
}

/// Certificates of one agent for the same target and role replace each other: one is left in the end, the slots are
/// counted correctly, and a failed renewal removes nothing.
#[test]
fn concurrent_renewals_leave_one_certificate() {
    check(|| {
        let gate = Arc::new(Gate::default());
        let renewals: Vec<_> = (0..3_u64)
            .map(|n| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || {
                    let own = action(Purpose::User);
                    let held = gate.authorize(&POLICY, &subject(0), &own, NOW);
                    let held = held.unwrap_or_else(|denial| panic!("{denial}"));
                    thread::yield_now();
                    // The second request gets no certificate.
                    if n != 1 {
                        held.keep(serial(n), later(300));
                    }
                    assert!(gate.active(NOW) <= LIMIT);
                })
            })
            .collect();
        for renewal in renewals {
            renewal.join().unwrap();
        }
        assert_eq!(gate.active(NOW), 1);
        let out = gate.certificates(&agent("a"), None, NOW);
        assert_eq!(out.len(), 1);
        assert!(out[0].serial == serial(0) || out[0].serial == serial(2));
        assert_eq!(gate.active(later(300)), 0);
    });
}

fn serial(n: u64) -> Serial {
    serde_json::from_str(&format!("\"{n:016x}\"")).unwrap()
}
