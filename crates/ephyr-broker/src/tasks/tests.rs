//! Refusals of task creation: a real request and its dry run have the same result.

use std::sync::Arc;

use ephyr_core::state::Quotas;
use ephyr_names::Ttl;
use serde_json::{Value, json};

use crate::clock;
use crate::http::{Entrypoint, Peer, Router};
use crate::testing::{Bench, HOME, HOME_UID, ask, epoch, mcp, policy};

/// A client by UID and, for delegation, with a token.
struct Client {
    router: Arc<Router>,
    token: String,
}

impl Client {
    async fn result(&self, tool: &str, arguments: Value) -> Value {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str())];
        // Delegation requires a token; root creation refuses one.
        let headers = if tool == "task_create" {
            &[][..]
        } else {
            &headers
        };
        let params = json!({"name": tool, "arguments": arguments});
        let request = mcp("tools/call", params, headers);
        let answer = ask(&self.router, Peer::Uid(HOME_UID), request).await;
        answer.body["result"].clone()
    }

    /// Returns the reason of the refusal, or null.
    async fn refusal(&self, tool: &str) -> Value {
        self.refusal_with(tool, "x").await
    }

    async fn refusal_with(&self, tool: &str, description: &str) -> Value {
        let real = self.result(tool, json!({"description": description})).await;
        real["_meta"]["ephyr/error"]["reason"].clone()
    }

    /// Returns the reason of the refusal in a dry run, or null.
    async fn dry_run_refusal(&self, tool: &str) -> Value {
        self.dry_run_refusal_with(tool, "x").await
    }

    async fn dry_run_refusal_with(&self, tool: &str, description: &str) -> Value {
        let arguments = json!({"description": description, "dry_run": true});
        let response = self.result(tool, arguments).await;
        let decision = &response["structuredContent"]["decision"];
        assert_eq!(
            decision["allowed"],
            decision["reason"].is_null(),
            "{response}"
        );
        decision["reason"].clone()
    }
}

const TOOLS: [&str; 2] = ["task_create", "task_delegate"];

#[tokio::test]
async fn expired_delegation_stops_new_tasks_but_not_existing_ones() {
    let bench = Bench::without_epoch(&policy());
    let router = bench.router(Entrypoint::Unix);
    let now = clock::now().unix_millis();
    let begun = ephyr_names::Timestamp::from_unix_millis(now - 90 * 60_000);
    bench.broker.state().add_epoch(epoch(begun)).unwrap();
    let (_, token) = bench.task(HOME, Ttl::from_secs(600), |_| {});
    let client = Client { router, token };
    for tool in TOOLS {
        assert_eq!(client.refusal(tool).await, "no_epoch", "{tool}");
        assert_eq!(client.dry_run_refusal(tool).await, "no_epoch", "{tool}");
    }
    assert_eq!(bench.broker.state().task_count(), 1);
    let info = client.result("task_info", json!({})).await;
    assert_eq!(info["structuredContent"]["task"]["agent"], HOME, "{info}");
    bench.broker.state().add_epoch(epoch(clock::now())).unwrap();
    for tool in TOOLS {
        assert_eq!(client.dry_run_refusal(tool).await, Value::Null, "{tool}");
        assert_eq!(client.refusal(tool).await, Value::Null, "{tool}");
    }
}

#[tokio::test]
async fn dry_run_reports_an_exhausted_task_quota() {
    let quotas = Quotas {
        tasks_per_agent: 3,
        ..Quotas::default()
    };
    let bench = Bench::with_quotas(&policy(), quotas);
    let router = bench.router(Entrypoint::Unix);
    let (_, token) = bench.task(HOME, Ttl::from_secs(600), |_| {});
    let client = Client { router, token };
    for tool in TOOLS {
        assert_eq!(client.dry_run_refusal(tool).await, Value::Null, "{tool}");
        assert_eq!(client.refusal(tool).await, Value::Null, "{tool}");
    }
    for tool in TOOLS {
        let reason = client.dry_run_refusal(tool).await;
        assert_eq!(reason, "too_many_tasks", "{tool}");
        assert_eq!(client.refusal(tool).await, "too_many_tasks", "{tool}");
    }
    assert_eq!(bench.broker.state().task_count(), 3);
}

#[tokio::test]
async fn dry_run_counts_the_description_against_the_quota() {
    let long = "x".repeat(1024);
    for tool in TOOLS {
        // The first task takes 558 bytes: 500, 50 for its lineage entry, and its description and envelope.
        let quotas = Quotas {
            bytes_per_agent: 558 + 1570,
            ..Quotas::default()
        };
        let bench = Bench::with_quotas(&policy(), quotas);
        let router = bench.router(Entrypoint::Unix);
        let (_, token) = bench.task(HOME, Ttl::from_secs(600), |_| {});
        let client = Client { router, token };
        let reason = client.dry_run_refusal_with(tool, &long).await;
        assert_eq!(reason, "too_many_tasks", "{tool}");
        let reason = client.refusal_with(tool, &long).await;
        assert_eq!(reason, "too_many_tasks", "{tool}");
        assert_eq!(client.dry_run_refusal(tool).await, Value::Null, "{tool}");
        assert_eq!(client.refusal(tool).await, Value::Null, "{tool}");
    }
}

#[tokio::test]
async fn child_is_created_below_the_tokens_own_task_only() {
    let bench = Bench::new(&policy());
    let router = bench.router(Entrypoint::Unix);
    let (own, token) = bench.task(HOME, Ttl::from_secs(600), |_| {});
    let (other, _) = bench.task(HOME, Ttl::from_secs(600), |_| {});
    let client = Client { router, token };
    let child = |parent: ephyr_names::TaskId| {
        let arguments = json!({"description": "x", "parent_task_id": parent});
        client.result("task_delegate", arguments)
    };
    let refused = child(other).await;
    let reason = &refused["_meta"]["ephyr/error"]["reason"];
    assert_eq!(reason, "not_your_task", "{refused}");
    assert_eq!(bench.broker.state().task_count(), 2);
    let made = child(own).await;
    assert_ne!(made["isError"], true, "{made}");
}
