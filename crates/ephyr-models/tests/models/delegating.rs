//! Children created while their parent is revoked, and changes during a compaction of the journal.

use std::sync::Arc;

use ephyr_models::state::{State, StateError, TaskRecord};
use shuttle::thread;

use crate::world::{NOW, World, check, must_break, task};

type Create = fn(&State, &TaskRecord) -> Result<(), StateError>;

fn create(state: &State, child: &TaskRecord) -> Result<(), StateError> {
    state.create_task(child.clone())
}

/// No child is created after the revocation of a task above it has returned, and one created before is revoked with
/// it, also after a restart.
fn model(create: Create) {
    let world = World::new();
    let child = task(&world.child.lineage);
    let revoker = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.state.revoke(&world.root, NOW).unwrap())
    };
    let early = world.state.revoked(&world.root.lineage).is_some();
    let made = create(&world.state, &child);
    assert!(!(early && made.is_ok()), "created below a revoked task");
    revoker.join().unwrap();
    for state in [&world.state, &world.reopened()] {
        assert_eq!(state.task(child.id).is_some(), made.is_ok());
        assert!(
            state.revoked(&child.lineage).is_some(),
            "the child is valid below a revoked root"
        );
        assert_eq!(
            state.subtree(world.root.id).contains(&child.id),
            made.is_ok()
        );
    }
}

#[test]
fn no_child_outlives_the_revocation_of_its_parent() {
    check(|| model(create));
}

#[test]
fn child_without_its_lineage_is_caught() {
    must_break(|| {
        model(|state, child| {
            let mut alone = child.clone();
            alone.lineage = Box::new([child.id]);
            state.create_task(alone)
        });
    });
}

#[test]
fn changes_during_compaction_survive_a_restart() {
    check(|| {
        let world = World::new();
        let (one, two) = (task(&world.root.lineage), task(&world.child.lineage));
        let compactor = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.state.compact().unwrap())
        };
        let creator = {
            let (world, one) = (Arc::clone(&world), one.clone());
            thread::spawn(move || world.state.create_task(one).unwrap())
        };
        world.state.create_task(two.clone()).unwrap();
        world.state.revoke(&world.child, NOW).unwrap();
        creator.join().unwrap();
        compactor.join().unwrap();
        let after = world.reopened();
        for record in [&world.root, &world.child, &one, &two] {
            assert!(after.task(record.id).is_some_and(|kept| *kept == *record));
        }
        assert!(after.revoked(&two.lineage).is_some());
        assert!(after.revoked(&one.lineage).is_none());
        assert_eq!(after.newest_of(&one.agent, 10).1, 4);
        // The new journal accepts changes.
        let three = task(&[]);
        world.state.create_task(three.clone()).unwrap();
        assert!(world.reopened().task(three.id).is_some());
    });
}
