//! An action that begins while its task, or one above it, is revoked.

use std::sync::Arc;

use ephyr_models::live::Running;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::world::{NOW, World, check, command, must_break, subject};

type Begin = fn(&World) -> Option<Running>;
type Revoke = fn(&World);

fn begin(world: &World) -> Option<Running> {
    let child = subject(&world.child);
    world.live.begin(&world.state, child, command()).ok()
}

fn revoke(world: &World) {
    world.live.revoke(&world.state, &world.root, NOW).unwrap();
}

/// Two actions of the child begin while the root is revoked: whatever begins after the answer is refused, and
/// whatever has begun before is ended by it.
fn model(begin: Begin, revoke: Revoke) {
    let world = World::new();
    let answered = Arc::new(AtomicBool::new(false));
    let actions: Vec<_> = (0..2)
        .map(|_| {
            let (world, answered) = (Arc::clone(&world), Arc::clone(&answered));
            thread::spawn(move || {
                let late = answered.load(Ordering::SeqCst);
                let running = begin(&world);
                assert!(
                    !(late && running.is_some()),
                    "begun after the revocation answered"
                );
                running
            })
        })
        .collect();
    revoke(&world);
    answered.store(true, Ordering::SeqCst);
    for action in actions {
        if let Some(running) = action.join().unwrap() {
            assert!(
                running.ended().borrow().is_some(),
                "it runs on for a revoked task"
            );
        }
    }
}

#[test]
fn nothing_begins_after_a_revocation_has_answered_and_what_had_begun_is_ended() {
    check(|| model(begin, revoke));
}

#[test]
fn an_action_that_looks_before_it_registers_is_seen_to_slip_through() {
    must_break(|| {
        let looks_first = |world: &World| {
            let revoked = world.state.revoked(&world.child.lineage).is_some();
            (!revoked).then(|| world.live.enter(subject(&world.child), command()))
        };
        model(looks_first, revoke);
    });
}

#[test]
fn a_revocation_that_ends_before_it_marks_is_seen_to_miss_one() {
    must_break(|| {
        let ends_first = |world: &World| {
            world.live.end_task(world.root.id);
            world.state.revoke(&world.root, NOW).unwrap();
        };
        model(begin, ends_first);
    });
}
