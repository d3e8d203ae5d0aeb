//! Actions that start while their task or one above it is revoked.

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

/// Two actions of the child start while the root is revoked: an action that starts after the revocation has returned
/// is refused, and one that started before is ended.
fn model(begin: Begin, revoke: Revoke) {
    let world = World::new();
    let returned = Arc::new(AtomicBool::new(false));
    let actions: Vec<_> = (0..2)
        .map(|_| {
            let (world, returned) = (Arc::clone(&world), Arc::clone(&returned));
            thread::spawn(move || {
                let late = returned.load(Ordering::SeqCst);
                let running = begin(&world);
                assert!(
                    !(late && running.is_some()),
                    "started after the revocation returned"
                );
                running
            })
        })
        .collect();
    revoke(&world);
    returned.store(true, Ordering::SeqCst);
    for action in actions {
        if let Some(running) = action.join().unwrap() {
            assert!(
                running.ended().borrow().is_some(),
                "the action was not ended"
            );
        }
    }
}

#[test]
fn no_action_outlives_the_revocation_of_its_task() {
    check(|| model(begin, revoke));
}

#[test]
fn check_before_registration_is_caught() {
    must_break(|| {
        let checks_first = |world: &World| {
            let revoked = world.state.revoked(&world.child.lineage).is_some();
            (!revoked).then(|| world.live.enter(subject(&world.child), command()))
        };
        model(checks_first, revoke);
    });
}

#[test]
fn ending_actions_before_the_revocation_is_caught() {
    must_break(|| {
        let ends_first = |world: &World| {
            world.live.end_task(world.root.id);
            world.state.revoke(&world.root, NOW).unwrap();
        };
        model(begin, ends_first);
    });
}
