//! Answered changes survive a restart, and expired state is dropped.

use ephyr_names::Ttl;
use ephyr_sandbox::Displaced;
use ephyr_token::HolderKey;

use super::quotas::{MAX_BYTES, MAX_BYTES_PER_AGENT};
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
fn tasks_revocations_and_epochs_survive_a_restart() {
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
        "tokens from before the restart must verify"
    );
}

#[test]
fn damaged_journal_invalidates_all_tokens() {
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
fn removed_journal_is_rewritten_from_memory() {
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
fn revocation_covers_the_subtree_only() {
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
fn revocation_is_kept_until_its_root_expires() {
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
fn ended_tasks_stay_ended_after_a_clock_step_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let (root, lasting, swept) = (task(&[], "a", 50), task(&[], "a", 100), task(&[], "b", 50));
    let child = task(&root.lineage, "b", 50);
    for record in [&root, &lasting, &swept, &child] {
        state.create_task(record.clone()).unwrap();
    }
    state.end(root.id, later(49));
    assert!(
        state.task(root.id).is_some(),
        "the root has not expired yet"
    );
    state.end(root.id, later(50));
    assert!(state.task(root.id).is_none() && state.task(child.id).is_none());
    assert_eq!(state.subtree(root.id), [root.id]);
    assert_eq!(state.sweep(later(50)), 1);
    assert_eq!(state.lock().usage.tasks(), 1);
    drop(state);
    // `open` uses a time at which all tasks were alive.
    let (state, opened) = open(dir.path());
    assert_eq!(opened, Opened::Resumed(1));
    assert!(state.task(lasting.id).is_some());
    assert_eq!(state.lock().usage.tasks(), 1);
    assert_eq!(state.newest_of(&root.agent, 10).1, 1);
    drop(state);
    assert_eq!(
        open(dir.path()).1,
        Opened::Resumed(1),
        "a second restart revives none either"
    );
}

#[test]
fn unbound_task_ends_at_its_bind_deadline() {
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
fn ended_children_are_removed_from_their_parent() {
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
fn renewed_certificate_counts_once_also_after_a_restart() {
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
fn task_counts_are_limited_per_agent_and_in_total() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let add_fake = |agent: &str, tasks| {
        let agent = agent.parse().unwrap();
        state.lock().usage.add_fake(&agent, tasks, 0);
    };
    add_fake("a", MAX_TASKS_PER_AGENT);
    let many = |result| matches!(result, Err(StateError::TooManyTasks(_)));
    assert!(many(state.create_task(task(&[], "a", 60))));
    state.create_task(task(&[], "b", 60)).unwrap();
    add_fake("c", MAX_TASKS - MAX_TASKS_PER_AGENT);
    let mut long = task(&[], "b", 60);
    long.envelope = "x".repeat(1_000_000).into();
    assert!(many(state.create_task(long)));
    state.create_task(task(&[], "b", 60)).unwrap();
    assert_eq!(state.task_count(), 2);
}

#[test]
fn long_texts_use_up_only_their_agents_quota() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let add_fake = |agent: &str, bytes| {
        let agent = agent.parse().unwrap();
        state.lock().usage.add_fake(&agent, 1, bytes);
    };
    let create = |agent: &str, length| {
        let mut record = task(&[], agent, 60);
        record.description = "x".repeat(length).into();
        state.create_task(record)
    };
    let too_long = |result| matches!(result, Err(StateError::TooLongTasks(_)));
    add_fake("a", MAX_BYTES_PER_AGENT - 5000);
    assert!(too_long(create("a", 5000)));
    create("a", 1000).unwrap();
    create("b", 5000).unwrap();
    add_fake("b", MAX_BYTES - MAX_BYTES_PER_AGENT);
    assert!(too_long(create("b", 5000)));
    // The reserved size is always available.
    for _ in 0..4 {
        create("c", 200_000).unwrap();
    }
    assert!(too_long(create("c", 200_000)));
    // Ended tasks do not count.
    state.sweep(NOW.after(Ttl::from_secs(61)));
    assert_eq!(state.lock().usage.bytes(), MAX_BYTES - 5000);
    create("c", 200_000).unwrap();
}

#[test]
fn delegated_tasks_count_for_the_root_agent() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let root = task(&[], "giver", 60);
    let above = [root.id];
    let giver = root.agent.clone();
    state.create_task(root).unwrap();
    let rest = MAX_TASKS_PER_AGENT - 1;
    state.lock().usage.add_fake(&giver, rest, 0);
    let mut child = task(&above, "taker", 60);
    child.initiated_by = giver;
    let refused = state.create_task(child);
    assert!(matches!(refused, Err(StateError::TooManyTasks(_))));
    state.create_task(task(&[], "taker", 60)).unwrap();
}

#[test]
fn key_is_bound_once_and_before_the_deadline() {
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
    assert!(
        matches!(over, Err(StateError::Gone(_))),
        "the task has expired"
    );
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
fn journal_is_compacted_when_mostly_dead() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let lasting = task(&[], "a", 1000);
    state.create_task(lasting.clone()).unwrap();
    for _ in 0..4000 {
        state.create_task(task(&[], "a", 10)).unwrap();
    }
    let before = state.lock().journal.len();
    assert!(before > cleanup::COMPACT_BYTES);
    state.compact_if_worthwhile().unwrap();
    assert_eq!(state.lock().journal.len(), before, "all entries are alive");
    assert_eq!(state.sweep(later(10)), 4000);
    state.compact_if_worthwhile().unwrap();
    assert!(state.lock().journal.len() < 2000);
    drop(state);
    assert!(open(dir.path()).0.task(lasting.id).is_some());
}

#[test]
fn compacted_journal_keeps_all_live_state() {
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
    // The first restart compacts appended entries, the second an already compacted journal.
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
