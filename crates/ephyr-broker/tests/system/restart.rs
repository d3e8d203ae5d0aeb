//! State after a restart, a crash, or without the signer.

use ephyr_testkit::{CaKey, World, json};

use crate::helpers::{eventually, exec, record, task};

#[test]
fn tasks_and_revocations_survive_a_kill() {
    let mut world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let (_, kept) = task(&mut scout);
    let (id, dead) = task(&mut scout);
    scout.tool("task_revoke", json!({"task_id": id})).unwrap();
    world.broker().unwrap().kill().unwrap();
    world.start_broker().unwrap();
    let status = |token: &str| {
        world
            .mcp_with_token(token)
            .unwrap()
            .call("list_targets", json!({}))
            .unwrap()
            .status
    };
    assert_eq!(status(&kept), 200);
    assert_eq!(status(&dead), 401);
    let ran = exec(
        &mut world.mcp_with_token(&kept).unwrap(),
        "web",
        "read",
        "echo again",
    );
    assert_eq!(ran.value["stdout"], "again\n");
}

#[test]
fn removed_state_journal_is_rewritten() {
    let mut world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let (_, before) = task(&mut scout);
    let journal = world.state_dir().join("state.journal");
    std::fs::remove_file(&journal).unwrap();
    eventually("the rewritten journal", || journal.exists().then_some(()));
    let restored = record(&world, "the record of the rewrite", |r| {
        r["event"] == "state_restored"
    });
    assert_eq!(restored["detail"]["taken_away"], "removed", "{restored}");
    let (_, after) = task(&mut scout);
    world.broker().unwrap().kill().unwrap();
    world.start_broker().unwrap();
    for token in [before, after] {
        let listed = world.mcp_with_token(&token).unwrap();
        let mut listed = listed;
        assert_eq!(listed.call("list_targets", json!({})).unwrap().status, 200);
    }
}

#[test]
fn short_lived_broker_leaves_no_record_uncountersigned() {
    let mut world = World::start().unwrap();
    let position = |world: &World| {
        let builder = world.unix("builder").unwrap();
        let health = builder.request("GET", "/v1/health", &[], b"").unwrap();
        let audit = health.json().unwrap()["details"]["audit"].clone();
        (
            audit["records"].as_u64().unwrap(),
            audit["countersigned"].as_u64().unwrap(),
        )
    };
    let mut scout = world.mcp_with_key("scout").unwrap();
    for _ in 0..3 {
        exec(&mut scout, "web", "read", "true");
        let (before, _) = position(&world);
        world.broker().unwrap().kill().unwrap();
        world.start_broker().unwrap();
        scout = world.mcp_with_key("scout").unwrap();
        eventually("countersigning of the records before the kill", || {
            (position(&world).1 >= before).then_some(())
        });
    }
}

#[test]
fn lost_state_invalidates_old_tokens_but_allows_new_ones() {
    let mut world = World::start().unwrap();
    let (_, token) = task(&mut world.mcp_with_key("scout").unwrap());
    world.broker().unwrap().stop().unwrap();
    std::fs::remove_file(world.state_dir().join("state.journal")).unwrap();
    world.start_broker().unwrap();
    let refused = world
        .mcp_with_token(&token)
        .unwrap()
        .call("list_targets", json!({}))
        .unwrap();
    assert_eq!(refused.status, 401);
    let (_, fresh) = eventually("a new epoch", || {
        let created = world
            .mcp_with_key("scout")
            .unwrap()
            .tool("task_create", json!({"description": "new"}))
            .unwrap();
        (!created.is_error).then(|| ((), created.value["token"].as_str().unwrap().to_owned()))
    });
    assert_eq!(
        world
            .mcp_with_token(&fresh)
            .unwrap()
            .call("list_targets", json!({}))
            .unwrap()
            .status,
        200
    );
}

#[test]
fn signer_outage_stops_commands_but_not_reads() {
    let mut world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    assert!(!exec(&mut scout, "web", "read", "true").is_error);
    world.signer().unwrap().kill().unwrap();
    let refused = exec(&mut scout, "web", "read", "true");
    assert!(
        refused.is_error && refused.text.contains("nothing was run"),
        "{}",
        refused.text
    );
    assert!(!scout.tool("list_targets", json!({})).unwrap().is_error);
    assert!(
        !scout
            .tool("task_create", json!({"description": "x"}))
            .unwrap()
            .is_error,
        "the delegation certificate is still in force"
    );
    world.start_signer().unwrap();
    assert!(!exec(&mut scout, "web", "read", "true").is_error);
}

#[test]
fn unpinned_signer_is_refused_and_one_matching_pin_suffices() {
    let mut world = World::builder().prepare().unwrap();
    world.start_signer().unwrap();
    let own = std::fs::read_to_string(world.ca_pub()).unwrap();
    let other = CaKey::generate("next").unwrap().public_line().unwrap();
    std::fs::write(world.ca_pub(), format!("{other}\n")).unwrap();
    world.start_broker().unwrap();
    let create = |world: &World| {
        let created = world
            .mcp_with_key("scout")
            .unwrap()
            .tool("task_create", json!({"description": "pins"}));
        !created.unwrap().is_error
    };
    assert!(!create(&world));
    world.broker().unwrap().stop().unwrap();
    std::fs::write(world.ca_pub(), format!("# next\n{other}\n{own}\n")).unwrap();
    world.start_broker().unwrap();
    assert!(create(&world));
    let health = world.unix("builder").unwrap();
    let health = health.request("GET", "/v1/health", &[], b"").unwrap();
    let details = &health.json().unwrap()["details"];
    assert!(
        details.is_object() && details["warnings"].is_null(),
        "{details}"
    );
}
