//! Applies each step to the broker and to the model, and compares the results.

use std::collections::BTreeMap;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use ephyr_names::{Digest, Timestamp};
use ephyr_token::{HolderKey, Nonce, Proof, ProofRequest, Token as RealToken};
use http::StatusCode;
use http::request::Parts as Head;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Step;
use super::model::{AGENTS, ALL, Caveat, Model, Pairs, ROLES, Rules, Scope, TARGETS, TaskRequest};
use crate::clock;
use crate::http::{Entrypoint, Peer, Router};
use crate::testing::{Answer, Bench, ask, epoch, load, mcp};

// Appends caveats without the broker's code, as a holder would.
#[path = "../../../ephyr-token/tests/support/forge.rs"]
#[allow(dead_code, reason = "the part that appends is used")]
mod forge;

const BEGIN: i64 = 1_800_000_000;
const FIRST_UID: u32 = 4001;
const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBFb0pR5mR0UgbYKcqoUIkxBSF1sNaC/hxrFKJ9XBTHE";

fn policy(rules: &Rules) -> Value {
    let target = |port: u16| {
        json!({
            "host": "127.0.0.1", "port": port, "host_key": HOST_KEY,
            "allowed_roles": ROLES, "auto_approve": true,
        })
    };
    let mut agents = json!({});
    for (n, name) in AGENTS.iter().enumerate() {
        let uid = FIRST_UID + u32::try_from(n).unwrap();
        let mut agent = json!({"uid": uid, "max_concurrent_certs": 5});
        let ssh = by_target(rules.grants[n]);
        let ssh: BTreeMap<_, _> = ssh
            .into_iter()
            .map(|(t, roles)| (t, json!({"roles": roles})))
            .collect();
        if !ssh.is_empty() {
            agent["ssh"] = json!(ssh);
        }
        agents[*name] = agent;
    }
    if rules.b_accepts_a {
        agents["b"]["accept_delegation_from"] = json!(["a"]);
    }
    agents["b"]["require_pop"] = json!(rules.b_must_prove);
    agents["c"]["accept_delegation_from"] = json!(["a", "b"]);
    agents["c"]["delegated_only"] = json!(true);
    json!({
        "global": {"max_active_certs": 20, "default_ttl": "5m", "max_ttl": "30m"},
        "roles": {"read": {"principal": "agent-read"}, "operator": {"principal": "agent-operator"}},
        "targets": {"web": target(1), "db": target(2)},
        "agents": agents,
    })
}

fn by_target(pairs: Pairs) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut map: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (target, role, bit) in all_pairs() {
        if pairs & bit != 0 {
            map.entry(target).or_default().push(role);
        }
    }
    map
}

fn all_pairs() -> impl Iterator<Item = (&'static str, &'static str, Pairs)> {
    (0..4).map(|n| (TARGETS[n / 2], ROLES[n % 2], 1 << n))
}

fn some_of(names: [&'static str; 2], bits: u8) -> Vec<&'static str> {
    let chosen = (0..2).filter(|n| bits & (1 << n) != 0);
    chosen.map(|n| names[n]).collect()
}

fn envelope(scope: Scope) -> Value {
    let mut envelope = json!({});
    if let Some(pairs) = scope.ssh {
        envelope["ssh"] = json!(by_target(pairs));
    }
    if let Some(targets) = scope.targets {
        envelope["targets"] = json!(some_of(TARGETS, targets));
    }
    if let Some(roles) = scope.roles {
        envelope["roles"] = json!(some_of(ROLES, roles));
    }
    envelope
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> String {
    let key = key(seed).verifying_key().to_bytes();
    HolderKey::from_bytes(key).unwrap().to_string()
}

/// The broker, the model, and the tasks and tokens of both under the same indexes.
pub(super) struct Driver {
    bench: Option<Bench>,
    router: Option<Arc<Router>>,
    model: Model,
    tasks: Vec<String>,
    tokens: Vec<String>,
    nonce: u64,
}

impl Driver {
    pub(super) fn new() -> Self {
        clock::set(Timestamp::from_unix_seconds(BEGIN));
        let rules = Rules {
            grants: [ALL; 4],
            b_accepts_a: true,
            b_must_prove: false,
        };
        let bench = Bench::new(&policy(&rules));
        let router = bench.router(Entrypoint::Unix);
        Self {
            bench: Some(bench),
            router: Some(router),
            model: Model {
                now: BEGIN,
                rules,
                tasks: Vec::new(),
                tokens: Vec::new(),
            },
            tasks: Vec::new(),
            tokens: Vec::new(),
            nonce: 0,
        }
    }

    fn bench(&self) -> &Bench {
        self.bench.as_ref().unwrap()
    }

    /// Applies one step; both sides must agree whether it succeeds.
    pub(super) async fn step(&mut self, step: &Step) {
        let wrap = |n: usize, of: usize| (of > 0).then(|| n % of);
        let (tokens, tasks) = (self.tokens.len(), self.tasks.len());
        match step {
            Step::Create(request) => self.create(request).await,
            Step::CreateWithToken(with) => {
                let Some(with) = wrap(*with, tokens) else {
                    return;
                };
                let arguments = json!({"description": "an escape"});
                let answer = self.with_token(with, "task_create", &arguments, None).await;
                assert!(
                    success(&answer).is_none(),
                    "a token created a root: {step:?}"
                );
            }
            Step::Delegate { with, request, own } => {
                let Some(with) = wrap(*with, tokens) else {
                    return;
                };
                self.delegate(with, request, *own).await;
            }
            Step::Append { to, caveat } => {
                let Some(to) = wrap(*to, tokens) else { return };
                self.append(to, *caveat);
            }
            Step::Bind { with, key } => {
                let Some(with) = wrap(*with, tokens) else {
                    return;
                };
                self.bind(with, *key).await;
            }
            Step::RevokeWith { with, task } => {
                let (Some(with), Some(task)) = (wrap(*with, tokens), wrap(*task, tasks)) else {
                    return;
                };
                let arguments = json!({"task_id": self.tasks[task]});
                let answer = self.with_token(with, "task_revoke", &arguments, None).await;
                let expected = self.model.revoke_with(with, task);
                assert_outcome(step, &answer, expected);
            }
            Step::RevokeAs { agent, task } => {
                let Some(task) = wrap(*task, tasks) else {
                    return;
                };
                let arguments = json!({"task_id": self.tasks[task]});
                let answer = self.as_agent(*agent, "task_revoke", &arguments).await;
                let expected = self.model.revoke_as(*agent, task);
                assert_outcome(step, &answer, expected);
            }
            Step::Reload(rules) => {
                self.model.rules = *rules;
                let path = self.bench().write_policy(&policy(rules));
                let loaded = load(path.parent().unwrap(), &policy(rules));
                self.bench().broker.replace_policy(Arc::new(loaded));
            }
            Step::Wait(seconds) => self.wait(*seconds),
            Step::Restart => {
                drop(self.router.take());
                let bench = self
                    .bench
                    .take()
                    .unwrap()
                    .restart(&policy(&self.model.rules));
                self.router = Some(bench.router(Entrypoint::Unix));
                self.bench = Some(bench);
            }
        }
    }

    async fn create(&mut self, request: &TaskRequest) {
        let mut arguments = json!({
            "description": "a root", "ttl": format!("{}s", request.ttl),
            "can_delegate": request.may_delegate, "envelope": envelope(request.scope),
        });
        if let Some(key) = request.key {
            arguments["holder_pub_key"] = json!(public(key));
        }
        let answer = self
            .as_agent(request.agent, "task_create", &arguments)
            .await;
        let expected = self.model.create(request);
        assert_outcome(request, &answer, expected);
        self.keep(&answer);
    }

    async fn delegate(&mut self, with: usize, request: &TaskRequest, own: bool) {
        let mut request = *request;
        if own {
            request.agent = self.model.tasks[self.model.tokens[with].task].agent;
        }
        let mut arguments = json!({
            "description": "a child", "agent": AGENTS[request.agent], "ttl": format!("{}s", request.ttl),
            "can_delegate": request.may_delegate, "must_bind": request.must_bind,
            "envelope": envelope(request.scope), "dry_run": true,
        });
        if let Some(key) = request.key {
            arguments["holder_pub_key"] = json!(public(key));
        }
        let before = self.bench().broker.state().task_count();
        let dry_run = self
            .with_token(with, "task_delegate", &arguments, None)
            .await;
        assert_eq!(
            self.bench().broker.state().task_count(),
            before,
            "a dry run created a task"
        );
        let would = success(&dry_run).is_some_and(|value| value["decision"]["allowed"] == true);
        arguments["dry_run"] = json!(false);
        let answer = self
            .with_token(with, "task_delegate", &arguments, None)
            .await;
        let expected = self.model.delegate(with, &request);
        assert_outcome((with, request), &answer, expected);
        assert_eq!(
            would, expected,
            "the dry run: {request:?}: {}",
            dry_run.body
        );
        if let (Some(preview), Some(made)) = (success(&dry_run), success(&answer)) {
            assert_eq!(
                preview["envelope"], made["envelope"],
                "the dry run's envelope"
            );
        }
        self.keep(&answer);
    }

    fn append(&mut self, to: usize, caveat: Caveat) {
        let list = |names: Vec<&str>| names.join(",");
        let (caveat, text) = match caveat {
            Caveat::Ssh(pairs) => {
                let pair = |(target, roles): (_, Vec<_>)| format!("{target}:{}", roles.join("+"));
                let pairs: Vec<_> = by_target(pairs).into_iter().map(pair).collect();
                (caveat, format!("ssh IN [{}]", pairs.join(",")))
            }
            Caveat::Targets(bits) => (
                caveat,
                format!("target IN [{}]", list(some_of(TARGETS, bits))),
            ),
            Caveat::Roles(bits) => (caveat, format!("role IN [{}]", list(some_of(ROLES, bits)))),
            Caveat::Expires(seconds) => {
                let at = self.model.now + seconds;
                let time = Timestamp::from_unix_seconds(at);
                (Caveat::Expires(at), format!("expires_before = {time}"))
            }
            Caveat::NoDelegation => (caveat, "can_delegate = false".to_owned()),
            Caveat::Generations(most) => (caveat, format!("delegation_depth <= {most}")),
        };
        let token = forge::append(&self.tokens[to], text.as_bytes());
        // A token that grew too long is invalid for both sides.
        if RealToken::from_text(&token).is_ok() {
            self.tokens.push(token);
            self.model.append(to, caveat);
        }
    }

    async fn bind(&mut self, with: usize, seed: u8) {
        let task = self.tasks[self.model.tokens[with].task].clone();
        let arguments = json!({"task_id": task, "holder_pub_key": public(seed)});
        let unproven = self
            .with_token(with, "task_bind", &arguments, Some(9))
            .await;
        assert!(success(&unproven).is_none(), "bound without the key");
        let answer = self
            .with_token(with, "task_bind", &arguments, Some(seed))
            .await;
        let expected = self.model.bind(with, seed);
        assert_outcome((with, seed), &answer, expected);
        if let Some(value) = success(&answer) {
            self.tokens
                .push(value["token"].as_str().unwrap().to_owned());
        }
    }

    fn wait(&mut self, seconds: i64) {
        self.model.now += seconds;
        let now = Timestamp::from_unix_seconds(self.model.now);
        clock::set(now);
        let state = self.bench().broker.state();
        // The background tasks of the broker.
        state.sweep(now);
        state.compact().unwrap();
        if state.minting_epoch(now).is_none() {
            state.add_epoch(epoch(now)).unwrap();
        }
    }

    fn keep(&mut self, answer: &Answer) {
        if let Some(value) = success(answer) {
            self.tasks
                .push(value["task_id"].as_str().unwrap().to_owned());
            self.tokens
                .push(value["token"].as_str().unwrap().to_owned());
        }
    }

    /// Checks a few tokens.
    pub(super) async fn check_some(&mut self, seed: usize) {
        for n in 0..3 {
            if !self.tokens.is_empty() {
                self.check((seed * 7 + n * 13) % self.tokens.len()).await;
            }
        }
    }

    /// Checks all tokens; returns the number of pairs that they allow together.
    pub(super) async fn check_all(&mut self) -> u32 {
        let mut sum = 0;
        for token in 0..self.tokens.len() {
            sum += self.check(token).await.count_ones();
        }
        sum
    }

    /// Checks that a token allows exactly what the model says, and works for its own agent only.
    async fn check(&mut self, token: usize) -> Pairs {
        let expected = self.model.allows(token);
        let mut found = 0;
        for (target, role, bit) in all_pairs() {
            let arguments = exec(target, role);
            let answer = self.with_token(token, "exec", &arguments, None).await;
            let allowed =
                success(&answer).is_some_and(|value| value["decision"]["allowed"] == true);
            found |= if allowed { bit } else { 0 };
        }
        assert_eq!(
            found, expected,
            "token {token} at {}: {:?}",
            self.model.now, self.model
        );
        assert_eq!(
            found & !self.model.parent_pairs(token),
            0,
            "more than its parent allows"
        );
        self.check_identity(token).await;
        found
    }

    /// Checks that a token identifies its task and agent, and that no other agent can use it and no proof works twice.
    async fn check_identity(&mut self, token: usize) {
        let works = self.model.works(token);
        let task = self.model.tokens[token].task;
        let agent = self.model.tasks[task].agent;
        let (head, body) = self.request(token, "task_info", &json!({}), None);
        let router = self.router.clone().unwrap();
        let again = (clone(&head), body.clone());
        let stranger = Peer::Uid(FIRST_UID + u32::try_from((agent + 1) % 4).unwrap());
        let stolen = ask(&router, stranger, (clone(&head), body.clone())).await;
        assert!(success(&stolen).is_none(), "another agent used the token");
        let peer = Peer::Uid(FIRST_UID + u32::try_from(agent).unwrap());
        let answer = ask(&router, peer, (head, body)).await;
        assert_outcome(("task_info", token), &answer, works);
        if let Some(value) = success(&answer) {
            assert_eq!(value["task"]["id"], json!(self.tasks[task]));
            assert_eq!(value["task"]["agent"], json!(AGENTS[agent]));
        }
        if self.model.tokens[token].key.is_some() {
            let replay = ask(&router, peer, again).await;
            assert_eq!(
                replay.status,
                StatusCode::UNAUTHORIZED,
                "a proof was accepted twice"
            );
        }
    }

    async fn as_agent(&self, agent: usize, tool: &str, arguments: &Value) -> Answer {
        let peer = Peer::Uid(FIRST_UID + u32::try_from(agent).unwrap());
        let params = json!({"name": tool, "arguments": arguments});
        let request = mcp("tools/call", params, &[]);
        ask(self.router.as_ref().unwrap(), peer, request).await
    }

    /// Calls a tool with a token, and a proof by its key if it is bound, otherwise by `prove_by`.
    async fn with_token(
        &mut self,
        token: usize,
        tool: &str,
        arguments: &Value,
        prove_by: Option<u8>,
    ) -> Answer {
        let agent = self.model.tasks[self.model.tokens[token].task].agent;
        let request = self.request(token, tool, arguments, prove_by);
        let peer = Peer::Uid(FIRST_UID + u32::try_from(agent).unwrap());
        ask(self.router.as_ref().unwrap(), peer, request).await
    }

    fn request(
        &mut self,
        token: usize,
        tool: &str,
        arguments: &Value,
        prove_by: Option<u8>,
    ) -> (Head, String) {
        let text = self.tokens[token].clone();
        let bearer = format!("Bearer {text}");
        let params = json!({"name": tool, "arguments": arguments});
        let mut headers = vec![("authorization", bearer.as_str())];
        let (_, body) = mcp("tools/call", params.clone(), &headers);
        self.nonce += 1;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.nonce.to_be_bytes());
        let proof = self.model.tokens[token].key.or(prove_by).map(|seed| {
            let request = ProofRequest {
                method: "POST",
                path: "/mcp",
                body: Digest(Sha256::digest(body.as_bytes()).into()),
                token: RealToken::from_text(&text).unwrap().digest(),
            };
            Proof::sign(&key(seed), &request, Nonce(nonce), clock::now()).to_string()
        });
        headers.extend(proof.as_deref().map(|proof| ("ephyr-proof", proof)));
        mcp("tools/call", params, &headers)
    }
}

fn exec(target: &str, role: &str) -> Value {
    json!({"target": target, "role": role, "command": "true", "dry_run": true})
}

fn clone(head: &Head) -> Head {
    let mut request = http::Request::builder()
        .method(head.method.clone())
        .uri(head.uri.clone());
    *request.headers_mut().unwrap() = head.headers.clone();
    request.body(()).unwrap().into_parts().0
}

/// Returns the structured result of a tool, unless it is an error.
fn success(answer: &Answer) -> Option<&Value> {
    let result = &answer.body["result"];
    let good = answer.status == StatusCode::OK && result["isError"] != true;
    good.then(|| &result["structuredContent"])
        .filter(|value| value.is_object())
}

fn assert_outcome(step: impl std::fmt::Debug, answer: &Answer, expected: bool) {
    let found = success(answer).is_some();
    assert_eq!(
        found, expected,
        "{step:?}: {} {}",
        answer.status, answer.body
    );
}
