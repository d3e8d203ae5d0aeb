//! A child that is made while its parent is revoked, and changes while the journal is rewritten.

use std::sync::Arc;

use ephyr_models::state::{State, StateError, TaskRecord};
use shuttle::thread;

use crate::world::{NOW, World, check, must_break, task};

type Create = fn(&State, &TaskRecord) -> Result<(), StateError>;

fn create(state: &State, child: &TaskRecord) -> Result<(), StateError> {
    state.create_task(child.clone())
}

/// No child is made once the revocation of a task above it has answered, and one that was made before has no
/// standing of its own, neither now nor after a restart.
fn model(create: Create) {
    let world = World::new();
    let child = task(&world.child.lineage);
    let revoker = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.state.revoke(&world.root, NOW).unwrap())
    };
    let early = world.state.revoked(&world.root.lineage).is_some();
    let made = create(&world.state, &child);
    assert!(!(early && made.is_ok()), "made of a revoked parent");
    revoker.join().unwrap();
    for state in [&world.state, &world.reopened()] {
        assert_eq!(state.task(child.id).is_some(), made.is_ok());
        assert!(
            state.revoked(&child.lineage).is_some(),
            "it stands though its root is revoked"
        );
        assert_eq!(
            state.subtree(world.root.id).contains(&child.id),
            made.is_ok()
        );
    }
}

#[test]
fn no_child_is_made_of_a_revoked_parent_and_none_outlives_its_revocation() {
    check(|| model(create));
}

#[test]
fn a_child_that_leaves_its_parents_out_is_seen_to_stand_on_its_own() {
    must_break(|| {
        model(|state, child| {
            let mut alone = child.clone();
            alone.lineage = Box::new([child.id]);
            state.create_task(alone)
        });
    });
}

#[test]
fn whatever_is_answered_while_the_journal_is_rewritten_is_there_after_a_restart() {
    check(|| {
        let world = World::new();
        let (one, two) = (task(&world.root.lineage), task(&world.child.lineage));
        let rewriter = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.state.compact().unwrap())
        };
        let maker = {
            let (world, one) = (Arc::clone(&world), one.clone());
            thread::spawn(move || world.state.create_task(one).unwrap())
        };
        world.state.create_task(two.clone()).unwrap();
        world.state.revoke(&world.child, NOW).unwrap();
        maker.join().unwrap();
        rewriter.join().unwrap();
        let after = world.reopened();
        for record in [&world.root, &world.child, &one, &two] {
            assert!(after.task(record.id).is_some_and(|kept| *kept == *record));
        }
        assert!(after.revoked(&two.lineage).is_some());
        assert!(after.revoked(&one.lineage).is_none());
        assert_eq!(after.newest_of(&one.agent, 10).1, 4);
        // And it goes on.
        let three = task(&[]);
        world.state.create_task(three.clone()).unwrap();
        assert!(world.reopened().task(three.id).is_some());
    });
}
