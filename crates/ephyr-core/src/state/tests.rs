//! What was answered is there after a restart, and what has ended is gone.

use ephyr_names::Ttl;
use ephyr_sandbox::Displaced;
use ephyr_token::HolderKey;

use super::room::{MAX_BYTES, MAX_BYTES_PER_AGENT};
use super::*;
use crate::ids;
use crate::testing::epoch;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn later(seconds: u64) -> Timestamp {
    NOW.after(Ttl::from_secs(seconds))
}

fn task(above: &[TaskId], agent: &str, lives: u64) -> TaskRecord {
    let id = ids::task_id(NOW);
    let mut lineage = above.to_vec();
    lineage.push(id);
    TaskRecord {
        id,
        lineage: lineage.into(),
        epoch: ids::epoch_id(NOW),
        agent: agent.parse().unwrap(),
        initiated_by: agent.parse().unwrap(),
        description: "a test".into(),
        created: NOW,
        expires: later(lives),
        can_delegate: true,
        holder: None,
        bind_deadline: None,
        envelope: "{}".into(),
    }
}

fn open(dir: &Path) -> (State, Opened) {
    State::open(dir, NOW).unwrap()
}

#[test]
fn tasks_revocations_and_epochs_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, revoked, entry) = (task(&[], "a", 60), task(&[], "a", 60), epoch(NOW));
    let (id, key) = (
        entry.id,
        Epoch::from_entry(entry.clone()).unwrap().root_key(kept.id),
    );
    {
        let (state, opened) = open(dir.path());
        assert_eq!(opened, Opened::Fresh);
        state.add_epoch(entry).unwrap();
        state.create_task(kept.clone()).unwrap();
        state.create_task(revoked.clone()).unwrap();
        state.revoke(&revoked, NOW).unwrap();
    }
    let (state, opened) = open(dir.path());
    assert_eq!(opened, Opened::Resumed(2));
    assert!(*state.task(kept.id).unwrap() == kept);
    assert_eq!(state.revoked(&kept.lineage), None);
    assert_eq!(state.revoked(&revoked.lineage).unwrap().task, revoked.id);
    let resumed = state.epoch(id).unwrap().root_key(kept.id);
    assert_eq!(
        resumed.dangerous_bytes(),
        key.dangerous_bytes(),
        "the same tokens verify"
    );
}

#[test]
fn a_damaged_journal_means_a_fresh_start_and_all_tokens_dead() {
    let dir = tempfile::tempdir().unwrap();
    let record = task(&[], "a", 60);
    {
        let (state, _) = open(dir.path());
        state.add_epoch(epoch(NOW)).unwrap();
        state.create_task(record.clone()).unwrap();
    }
    let path = dir.path().join("state.journal");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (state, opened) = open(dir.path());
    assert!(matches!(opened, Opened::Damaged(_)));
    assert!(state.task(record.id).is_none() && state.newest_epoch().is_none());
}

#[test]
fn a_journal_taken_away_is_written_anew_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.journal");
    let (state, _) = open(dir.path());
    state.add_epoch(epoch(NOW)).unwrap();
    let (kept, revoked, late) = (task(&[], "a", 60), task(&[], "a", 60), task(&[], "a", 60));
    state.create_task(kept.clone()).unwrap();
    state.create_task(revoked.clone()).unwrap();
    state.revoke(&revoked, NOW).unwrap();
    assert!(state.restore_files(NOW).unwrap().is_empty());
    std::fs::remove_file(&path).unwrap();
    let refused = state.create_task(late.clone()).unwrap_err().to_string();
    assert!(
        refused.contains("was removed") && refused.contains("nothing was changed"),
        "{refused}"
    );
    assert!(state.task(late.id).is_none());
    let restored = state.restore_files(NOW).unwrap();
    assert_eq!(restored, [("the state journal", Displaced::Removed)]);
    state.create_task(late.clone()).unwrap();
    drop(state);
    let (state, opened) = open(dir.path());
    assert_eq!(opened, Opened::Resumed(3));
    assert!(state.task(late.id).is_some() && state.revoked(&revoked.lineage).is_some());
}

#[test]
fn revoking_a_task_revokes_what_is_below_it_and_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let root = task(&[], "a", 60);
    let child = task(&root.lineage, "a", 60);
    let grandchild = task(&child.lineage, "b", 60);
    let beside = task(&root.lineage, "a", 60);
    for record in [&root, &child, &grandchild, &beside] {
        state.create_task(record.clone()).unwrap();
    }
    assert_eq!(state.subtree(child.id), [child.id, grandchild.id]);
    assert_eq!(state.subtree(root.id).len(), 4);
    state.revoke(&child, NOW).unwrap();
    assert!(state.revoked(&child.lineage).is_some());
    assert!(state.revoked(&grandchild.lineage).is_some());
    assert!(state.revoked(&root.lineage).is_none());
    assert!(state.revoked(&beside.lineage).is_none());
    let late = task(&grandchild.lineage, "b", 60);
    assert!(matches!(state.create_task(late), Err(StateError::Revoked(id)) if id == child.id));
}

#[test]
fn what_has_ended_is_dropped_and_the_memory_of_a_revocation_lives_as_long_as_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let root = task(&[], "a", 100);
    let child = task(&root.lineage, "a", 50);
    state.add_epoch(epoch(NOW)).unwrap();
    state.create_task(root.clone()).unwrap();
    state.create_task(child.clone()).unwrap();
    state.revoke(&child, NOW).unwrap();
    assert_eq!(state.sweep(later(49)), 0);
    assert_eq!(state.sweep(later(50)), 1, "the child");
    assert!(state.revoked(&child.lineage).is_some());
    assert_eq!(state.sweep(later(100)), 1, "the root");
    assert!(state.revoked(&child.lineage).is_none());
    assert!(state.newest_epoch().is_some());
    state.sweep(later(7200));
    assert!(state.newest_epoch().is_none());
}

#[test]
fn what_was_found_to_be_over_stays_so_when_the_clock_goes_back_and_the_broker_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let (root, lasting, swept) = (task(&[], "a", 50), task(&[], "a", 100), task(&[], "b", 50));
    let child = task(&root.lineage, "b", 50);
    for record in [&root, &lasting, &swept, &child] {
        state.create_task(record.clone()).unwrap();
    }
    state.end(root.id, later(49));
    assert!(state.task(root.id).is_some(), "it is not over yet");
    state.end(root.id, later(50));
    assert!(state.task(root.id).is_none() && state.task(child.id).is_none());
    assert_eq!(state.subtree(root.id), [root.id]);
    assert_eq!(state.sweep(later(50)), 1);
    assert_eq!(state.lock().room.tasks(), 1);
    drop(state);
    // `open` is at the time at which all of them were alive.
    let (state, opened) = open(dir.path());
    assert_eq!(opened, Opened::Resumed(1));
    assert!(state.task(lasting.id).is_some());
    assert_eq!(state.lock().room.tasks(), 1);
    assert_eq!(state.newest_of(&root.agent, 10).1, 1);
    drop(state);
    assert_eq!(open(dir.path()).1, Opened::Resumed(1), "nor after another");
}

#[test]
fn an_unbound_task_ends_with_its_bind_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let record = TaskRecord {
        bind_deadline: Some(later(30)),
        ..task(&[], "a", 60)
    };
    state.create_task(record.clone()).unwrap();
    state.sweep(later(29));
    assert!(state.task(record.id).is_some());
    state.sweep(later(30));
    assert!(state.task(record.id).is_none());
}

#[test]
fn a_parent_forgets_children_that_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let root = task(&[], "a", 100);
    state.create_task(root.clone()).unwrap();
    for _ in 0..1000 {
        state.create_task(task(&root.lineage, "a", 10)).unwrap();
    }
    let lasting = task(&root.lineage, "a", 100);
    state.create_task(lasting.clone()).unwrap();
    assert_eq!(state.sweep(later(10)), 1000);
    assert_eq!(state.subtree(root.id), [root.id, lasting.id]);
    assert!(state.children.get(&root.id).unwrap().capacity() < 10);
}

fn certificate(slot: u64, role: &str) -> Issued {
    let entry = serde_json::json!({
        "slot": slot, "agent": "a", "lineage": [], "target": "web", "role": role, "kind": "user",
        "since": NOW, "expires": later(60),
    });
    Issued {
        entry: serde_json::from_value(entry).unwrap(),
        serial: serde_json::from_value(serde_json::json!(format!("{slot:016x}"))).unwrap(),
        expires: later(60),
    }
}

#[test]
fn a_renewed_certificate_counts_once_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let slots = |state: &State| -> Vec<_> {
        let records = state.certificates();
        let slot = |record: &Issued| serde_json::to_value(record.entry.slot).unwrap();
        records.iter().map(slot).collect()
    };
    {
        let (state, _) = open(dir.path());
        for (slot, role) in [(1, "read"), (2, "operator"), (3, "read")] {
            state.add_certificate(certificate(slot, role)).unwrap();
        }
        assert_eq!(slots(&state), [2, 3]);
    }
    assert_eq!(slots(&open(dir.path()).0), [2, 3]);
}

#[test]
fn there_is_an_end_to_how_many_tasks_one_agent_and_all_of_them_have() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let pretend = |agent: &str, tasks| {
        let agent = agent.parse().unwrap();
        state.lock().room.pretend(&agent, tasks, 0);
    };
    pretend("a", MAX_TASKS_PER_AGENT);
    let many = |result| matches!(result, Err(StateError::TooManyTasks(_)));
    assert!(many(state.create_task(task(&[], "a", 60))));
    state.create_task(task(&[], "b", 60)).unwrap();
    pretend("c", MAX_TASKS - MAX_TASKS_PER_AGENT);
    let mut long = task(&[], "b", 60);
    long.envelope = "x".repeat(1_000_000).into();
    assert!(many(state.create_task(long)));
    state.create_task(task(&[], "b", 60)).unwrap();
    assert_eq!(state.task_count(), 2);
}

#[test]
fn long_words_take_an_agents_room_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let pretend = |agent: &str, bytes| {
        let agent = agent.parse().unwrap();
        state.lock().room.pretend(&agent, 1, bytes);
    };
    let say = |agent: &str, length| {
        let mut record = task(&[], agent, 60);
        record.description = "x".repeat(length).into();
        state.create_task(record)
    };
    let too_long = |result| matches!(result, Err(StateError::TooLongTasks(_)));
    pretend("a", MAX_BYTES_PER_AGENT - 5000);
    assert!(too_long(say("a", 5000)));
    say("a", 1000).unwrap();
    say("b", 5000).unwrap();
    pretend("b", MAX_BYTES - MAX_BYTES_PER_AGENT);
    assert!(too_long(say("b", 5000)));
    // Little is always an agent's own.
    for _ in 0..4 {
        say("c", 200_000).unwrap();
    }
    assert!(too_long(say("c", 200_000)));
    // What has ended takes none.
    state.sweep(NOW.after(Ttl::from_secs(61)));
    assert_eq!(state.lock().room.bytes(), MAX_BYTES - 5000);
    say("c", 200_000).unwrap();
}

#[test]
fn what_is_made_below_an_agents_task_takes_that_agents_room() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let root = task(&[], "giver", 60);
    let above = [root.id];
    let giver = root.agent.clone();
    state.create_task(root).unwrap();
    let rest = MAX_TASKS_PER_AGENT - 1;
    state.lock().room.pretend(&giver, rest, 0);
    let mut child = task(&above, "taker", 60);
    child.initiated_by = giver;
    let refused = state.create_task(child);
    assert!(matches!(refused, Err(StateError::TooManyTasks(_))));
    state.create_task(task(&[], "taker", 60)).unwrap();
}

#[test]
fn a_key_is_bound_in_time_to_a_task_that_lives_and_to_no_other_key() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let holder = |seed: u8| {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        HolderKey::from_bytes(key.verifying_key().to_bytes()).unwrap()
    };
    let unbound = || {
        let record = TaskRecord {
            bind_deadline: Some(later(30)),
            ..task(&[], "a", 60)
        };
        state.create_task(record.clone()).unwrap();
        record
    };
    let bind = |task, key, at| {
        let holder = holder(key);
        state.bind(Binding { task, holder }, at)
    };
    let late = unbound();
    assert!(matches!(bind(late.id, 1, later(30)), Err(StateError::Gone(id)) if id == late.id));
    let revoked = unbound();
    state.revoke(&revoked, NOW).unwrap();
    assert!(matches!(
        bind(revoked.id, 1, NOW),
        Err(StateError::Revoked(_))
    ));
    let good = unbound();
    bind(good.id, 1, later(29)).unwrap();
    bind(good.id, 1, later(59)).unwrap();
    assert!(matches!(
        bind(good.id, 2, later(29)),
        Err(StateError::BoundOtherwise)
    ));
    let over = bind(good.id, 1, later(60));
    assert!(matches!(over, Err(StateError::Gone(_))), "its life is over");
    assert!(state.task(good.id).unwrap().holder == Some(holder(1)));
    assert!(state.task(late.id).unwrap().holder.is_none());
    assert!(state.task(revoked.id).unwrap().holder.is_none());
    drop(state);
    let (state, _) = open(dir.path());
    assert!(
        state.task(good.id).unwrap().holder == Some(holder(1)),
        "after a restart"
    );
}

#[test]
fn the_journal_shrinks_when_most_of_it_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let lasting = task(&[], "a", 1000);
    state.create_task(lasting.clone()).unwrap();
    for _ in 0..4000 {
        state.create_task(task(&[], "a", 10)).unwrap();
    }
    let before = state.lock().journal.len();
    assert!(before > upkeep::COMPACT_BYTES);
    state.compact_if_worthwhile().unwrap();
    assert_eq!(state.lock().journal.len(), before, "all of it is alive");
    assert_eq!(state.sweep(later(10)), 4000);
    state.compact_if_worthwhile().unwrap();
    assert!(state.lock().journal.len() < 2000);
    drop(state);
    assert!(open(dir.path()).0.task(lasting.id).is_some());
}

#[test]
fn a_rewritten_journal_has_all_that_counts_still() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, revoked) = (task(&[], "a", 60), task(&[], "a", 60));
    {
        let (state, _) = open(dir.path());
        state.add_epoch(epoch(NOW)).unwrap();
        for record in [&kept, &revoked] {
            state.create_task(record.clone()).unwrap();
        }
        state.revoke(&revoked, NOW).unwrap();
        state.add_certificate(certificate(1, "read")).unwrap();
    }
    // The first restart rewrites what was appended one by one, the second one what the first has rewritten.
    for restart in ["first", "second", "third"] {
        let (state, opened) = open(dir.path());
        assert_eq!(opened, Opened::Resumed(2), "{restart}");
        assert!(state.newest_epoch().is_some(), "{restart}");
        assert_eq!(state.revoked(&kept.lineage), None, "{restart}");
        let known = state.revoked(&revoked.lineage);
        assert_eq!(known.unwrap().task, revoked.id, "{restart}");
        assert_eq!(state.certificates().len(), 1, "{restart}");
    }
}
