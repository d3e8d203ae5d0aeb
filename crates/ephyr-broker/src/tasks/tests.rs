//! What no task is made for, asked for and in a dry run: both have the same answer.

use std::sync::Arc;

use ephyr_core::state::Quotas;
use ephyr_names::Ttl;
use serde_json::{Value, json};

use crate::clock;
use crate::http::{Peer, Router, Way};
use crate::testing::{Bench, HOME, HOME_UID, ask, epoch, mcp, policy};

/// One way in, by UID or by token.
struct Desk {
    router: Arc<Router>,
    token: String,
}

impl Desk {
    async fn result(&self, tool: &str, arguments: Value) -> Value {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str())];
        // Only a token makes children, and none makes roots.
        let headers = if tool == "task_create" {
            &[][..]
        } else {
            &headers
        };
        let params = json!({"name": tool, "arguments": arguments});
        let asked = mcp("tools/call", params, headers);
        let answer = ask(&self.router, Peer::Uid(HOME_UID), asked).await;
        answer.body["result"].clone()
    }

    /// Why a task is not made: null where it is.
    async fn refused(&self, tool: &str) -> Value {
        self.refused_with(tool, "x").await
    }

    async fn refused_with(&self, tool: &str, description: &str) -> Value {
        let real = self.result(tool, json!({"description": description})).await;
        real["_meta"]["ephyr/error"]["reason"].clone()
    }

    /// The same of a dry run.
    async fn would_be_refused(&self, tool: &str) -> Value {
        self.would_be_refused_with(tool, "x").await
    }

    async fn would_be_refused_with(&self, tool: &str, description: &str) -> Value {
        let arguments = json!({"description": description, "dry_run": true});
        let asked = self.result(tool, arguments).await;
        let decision = &asked["structuredContent"]["decision"];
        assert_eq!(decision["allowed"], decision["reason"].is_null(), "{asked}");
        decision["reason"].clone()
    }
}

const TOOLS: [&str; 2] = ["task_create", "task_delegate"];

#[tokio::test]
async fn when_the_signers_delegation_is_over_no_task_is_made_and_those_before_go_on() {
    let bench = Bench::without_epoch(&policy());
    let router = bench.router(Way::Unix);
    let now = clock::now().unix_millis();
    let begun = ephyr_names::Timestamp::from_unix_millis(now - 90 * 60_000);
    bench.broker.state().add_epoch(epoch(begun)).unwrap();
    let (_, token) = bench.task(HOME, Ttl::from_secs(600), |_| {});
    let desk = Desk { router, token };
    for tool in TOOLS {
        assert_eq!(desk.refused(tool).await, "no_epoch", "{tool}");
        assert_eq!(desk.would_be_refused(tool).await, "no_epoch", "{tool}");
    }
    assert_eq!(bench.broker.state().task_count(), 1);
    let info = desk.result("task_info", json!({})).await;
    assert_eq!(info["structuredContent"]["task"]["agent"], HOME, "{info}");
    bench.broker.state().add_epoch(epoch(clock::now())).unwrap();
    for tool in TOOLS {
        assert_eq!(desk.would_be_refused(tool).await, Value::Null, "{tool}");
        assert_eq!(desk.refused(tool).await, Value::Null, "{tool}");
    }
}

#[tokio::test]
async fn an_agent_that_has_all_its_tasks_is_told_so_in_a_dry_run_too() {
    let quotas = Quotas {
        tasks_per_agent: 3,
        ..Quotas::default()
    };
    let bench = Bench::with_quotas(&policy(), quotas);
    let router = bench.router(Way::Unix);
    let (_, token) = bench.task(HOME, Ttl::from_secs(600), |_| {});
    let desk = Desk { router, token };
    for tool in TOOLS {
        assert_eq!(desk.would_be_refused(tool).await, Value::Null, "{tool}");
        assert_eq!(desk.refused(tool).await, Value::Null, "{tool}");
    }
    for tool in TOOLS {
        let reason = desk.would_be_refused(tool).await;
        assert_eq!(reason, "too_many_tasks", "{tool}");
        assert_eq!(desk.refused(tool).await, "too_many_tasks", "{tool}");
    }
    assert_eq!(bench.broker.state().task_count(), 3);
}

#[tokio::test]
async fn a_dry_run_knows_that_a_long_description_has_no_room_where_a_short_one_has() {
    let long = "x".repeat(1024);
    for tool in TOOLS {
        // The first task takes 558 bytes: 500, 50 for its place in the lineage, and its description and envelope.
        let quotas = Quotas {
            bytes_per_agent: 558 + 1570,
            ..Quotas::default()
        };
        let bench = Bench::with_quotas(&policy(), quotas);
        let router = bench.router(Way::Unix);
        let (_, token) = bench.task(HOME, Ttl::from_secs(600), |_| {});
        let desk = Desk { router, token };
        let reason = desk.would_be_refused_with(tool, &long).await;
        assert_eq!(reason, "too_many_tasks", "{tool}");
        let reason = desk.refused_with(tool, &long).await;
        assert_eq!(reason, "too_many_tasks", "{tool}");
        assert_eq!(desk.would_be_refused(tool).await, Value::Null, "{tool}");
        assert_eq!(desk.refused(tool).await, Value::Null, "{tool}");
    }
}

#[tokio::test]
async fn a_child_is_made_of_the_tokens_own_task_and_of_no_other() {
    let bench = Bench::new(&policy());
    let router = bench.router(Way::Unix);
    let (own, token) = bench.task(HOME, Ttl::from_secs(600), |_| {});
    let (other, _) = bench.task(HOME, Ttl::from_secs(600), |_| {});
    let desk = Desk { router, token };
    let child = |parent: ephyr_names::TaskId| {
        let arguments = json!({"description": "x", "parent_task_id": parent});
        desk.result("task_delegate", arguments)
    };
    let refused = child(other).await;
    let reason = &refused["_meta"]["ephyr/error"]["reason"];
    assert_eq!(reason, "not_your_task", "{refused}");
    assert_eq!(bench.broker.state().task_count(), 2);
    let made = child(own).await;
    assert_ne!(made["isError"], true, "{made}");
}
