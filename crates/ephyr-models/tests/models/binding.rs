//! Concurrent bindings of one task, and bindings while the task ends.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use ephyr_models::state::{Binding, State, StateError};
use ephyr_token::HolderKey;
use shuttle::thread;

use crate::world::{NOW, World, check, later, must_break, task};

/// Returns two keys.
fn keys() -> [HolderKey; 2] {
    [1, 2].map(|seed| {
        let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
        HolderKey::from_bytes(key.to_bytes()).unwrap()
    })
}

type Bind = fn(&State, Binding) -> Result<(), StateError>;

fn bind(state: &State, binding: Binding) -> Result<(), StateError> {
    state.bind(binding, NOW)
}

/// One key is bound, the other is never visible, and the binding survives a restart.
fn model(bind: Bind) {
    let world = World::new();
    let id = world.child.id;
    let binders = keys().map(|holder| {
        let world = Arc::clone(&world);
        thread::spawn(move || bind(&world.state, Binding { task: id, holder }).is_ok())
    });
    let mut seen = None;
    for _ in 0..3 {
        let holder = world.state.task(id).unwrap().holder;
        assert!(seen.is_none() || seen == holder, "the holder changed");
        seen = holder;
        thread::yield_now();
    }
    let won = binders.map(|binder| binder.join().unwrap());
    assert!(won[0] != won[1], "winners: {won:?}");
    let winner = keys()[usize::from(won[1])];
    assert!(world.state.task(id).unwrap().holder == Some(winner));
    assert!(seen.is_none_or(|seen| seen == winner));
    assert!(
        world.reopened().task(id).unwrap().holder == Some(winner),
        "after a restart"
    );
}

#[test]
fn one_of_two_keys_is_bound_and_survives_a_restart() {
    check(|| model(bind));
}

#[test]
fn check_before_bind_is_caught_with_two_winners() {
    must_break(|| {
        model(|state, binding| {
            match state.task(binding.task).unwrap().holder {
                Some(_) => Err(StateError::BoundOtherwise),
                None => {
                    // Wrong: answers by the earlier check and ignores the result.
                    let _ = state.bind(binding, NOW);
                    Ok(())
                }
            }
        });
    });
}

#[test]
fn task_bound_in_time_is_not_dropped_as_unbound() {
    check(|| {
        let world = World::new();
        let mut due = task(&world.root.lineage);
        due.bind_deadline = Some(later(30));
        let id = due.id;
        world.state.create_task(due).unwrap();
        let sweeper = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.state.sweep(later(30)))
        };
        let holder = keys()[0];
        let bound = world.state.bind(Binding { task: id, holder }, later(29));
        sweeper.join().unwrap();
        let there = world.state.task(id);
        assert_eq!(
            bound.is_ok(),
            there.is_some_and(|task| task.holder == Some(holder))
        );
    });
}

#[test]
fn no_task_is_bound_after_its_revocation_returned() {
    check(|| {
        let world = World::new();
        let revoker = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.state.revoke(&world.root, NOW).unwrap())
        };
        let early = world.state.revoked(&world.child.lineage).is_some();
        let (task, holder) = (world.child.id, keys()[0]);
        let bound = world.state.bind(Binding { task, holder }, NOW);
        assert!(
            !(early && bound.is_ok()),
            "bound after the revocation returned"
        );
        revoker.join().unwrap();
        // Bound or not, its tokens are invalid.
        assert!(world.state.revoked(&world.child.lineage).is_some());
    });
}
