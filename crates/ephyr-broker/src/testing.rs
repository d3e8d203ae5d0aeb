//! A broker for unit tests: real state, policy, audit log and router, and a scripted signer. Tests can change the
//! state between two steps of one request. Tests that need targets or separate users are in `tests/system`.

use std::path::Path;
use std::sync::Arc;

use ephyr_core::audit::Audit;
use ephyr_core::epoch::{Candidate, EpochEntry};
use ephyr_core::ids;
use ephyr_core::signer::Signer;
use ephyr_core::state::{Quotas, State, TaskRecord};
use ephyr_names::{TaskId, Timestamp, Ttl};
use ephyr_signer_ipc::{FrameReader, Reply, Request as SignerRequest, decode, encode};
use ephyr_token::{DelegationCertificate, DelegationPayload, Envelope, RootSpec, mint_root};
use http::request::Parts as Head;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use ssh_key::{PrivateKey, private::Ed25519Keypair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::broker::{Broker, Parts, SandboxView};
use crate::clock;
use crate::http::{Entrypoint, Peer, Request, Router};
use crate::policy::Loaded;

/// An agent with a UID on this host.
pub(crate) const HOME: &str = "home";
pub(crate) const HOME_UID: u32 = 4001;
/// A host key that belongs to no host.
const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBFb0pR5mR0UgbYKcqoUIkxBSF1sNaC/hxrFKJ9XBTHE";

/// A broker and its directory.
pub(crate) struct Bench {
    pub(crate) broker: Arc<Broker>,
    dir: tempfile::TempDir,
}

/// A response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

/// Returns a policy: `home` may use `read` on `web`, where nothing listens; `away` has no UID and no grants.
pub(crate) fn policy() -> Value {
    json!({
        "global": {"max_active_certs": 20, "default_ttl": "5m", "max_ttl": "30m"},
        "roles": {"read": {"principal": "agent-read"}},
        "targets": {"web": {
            "host": "127.0.0.1", "port": 1, "host_key": HOST_KEY,
            "allowed_roles": ["read"], "auto_approve": true,
        }},
        "agents": {
            HOME: {"uid": HOME_UID, "max_concurrent_certs": 5, "ssh": {"web": {"roles": ["read"]}}},
            "away": {
                "api_key_hash": "$2b$10$1LNbtRoSK7Q8zgOSXXkOF.eV01BWLr6KPXg.wmykUFLNiL56mT/rC",
                "max_concurrent_certs": 5,
            },
        },
    })
}

impl Bench {
    /// Starts a broker with this policy and an epoch that may mint.
    pub(crate) fn new(policy: &Value) -> Self {
        let bench = Self::without_epoch(policy);
        let entry = epoch(clock::now());
        bench.broker.state().add_epoch(entry).unwrap();
        bench
    }

    /// Starts a broker to which the signer has not delegated yet.
    pub(crate) fn without_epoch(policy: &Value) -> Self {
        Self::open(tempfile::tempdir().unwrap(), policy)
    }

    /// Restarts the broker on the same directory.
    pub(crate) fn restart(self, policy: &Value) -> Self {
        self.broker.audit().writer().close().unwrap();
        drop(self.broker);
        Self::open(self.dir, policy)
    }

    /// Starts a broker as [`Bench::new`], with these quotas of live tasks.
    pub(crate) fn with_quotas(policy: &Value, quotas: Quotas) -> Self {
        let bench = Self::open_with(tempfile::tempdir().unwrap(), policy, quotas);
        let entry = epoch(clock::now());
        bench.broker.state().add_epoch(entry).unwrap();
        bench
    }

    /// Returns the path of the state journal.
    pub(crate) fn journal(&self) -> std::path::PathBuf {
        self.dir.path().join("state.journal")
    }

    fn open(dir: tempfile::TempDir, policy: &Value) -> Self {
        Self::open_with(dir, policy, Quotas::default())
    }

    fn open_with(dir: tempfile::TempDir, policy: &Value, quotas: Quotas) -> Self {
        let now = clock::now();
        let loaded = load(dir.path(), policy);
        let (audit, _) =
            Audit::open(&dir.path().join("audit.jsonl"), 1 << 26, loaded.hash()).unwrap();
        let (state, _) = State::open_with(dir.path(), quotas, now).unwrap();
        let parts = Parts {
            state,
            audit,
            signer: Signer::new(dir.path().join("signer.sock")),
            sandbox: SandboxView {
                landlock_abi: 0,
                landlock: Vec::new(),
                state_in_memory: false,
            },
            ca_pins: None,
        };
        let broker = Arc::new(Broker::new(parts, Arc::new(loaded), now));
        Self { broker, dir }
    }

    /// Writes another policy; returns its path.
    pub(crate) fn write_policy(&self, policy: &Value) -> std::path::PathBuf {
        let path = self.dir.path().join("policy.json");
        std::fs::write(&path, policy.to_string()).unwrap();
        path
    }

    /// Starts a signer that responds with `answer`.
    pub(crate) fn signer(&self, answer: impl Fn(SignerRequest) -> Reply + Send + 'static) {
        let listener = UnixListener::bind(self.dir.path().join("signer.sock")).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut reader, mut buffer) = (FrameReader::new(), [0; 4096]);
                let request = loop {
                    let n = stream.read(&mut buffer).await.unwrap();
                    if let Some(body) = reader.feed(&buffer[..n]).unwrap() {
                        break decode(body).unwrap();
                    }
                };
                let frame = encode(&answer(request)).unwrap();
                stream.write_all(&frame).await.unwrap();
            }
        });
    }

    /// Starts a signer that never responds. It listens until dropped.
    pub(crate) fn silent_signer(&self) -> UnixListener {
        UnixListener::bind(self.dir.path().join("signer.sock")).unwrap()
    }

    /// Returns the router of an entrypoint.
    pub(crate) fn router(&self, entrypoint: Entrypoint) -> Arc<Router> {
        let key = ephyr_mcp::SessionKey::from_bytes([7; 32]);
        Arc::new(Router::new(Arc::clone(&self.broker), entrypoint, key).unwrap())
    }

    /// Stores a root task of `agent` after `edit` changed it; returns its id and a token of the unchanged task.
    pub(crate) fn task(
        &self,
        agent: &str,
        ttl: Ttl,
        edit: impl FnOnce(&mut TaskRecord),
    ) -> (TaskId, String) {
        let now = clock::now();
        let epoch = self.broker.state().newest_epoch().unwrap();
        let (id, expires) = (ids::task_id(now), now.after(ttl));
        let spec = RootSpec {
            task: id,
            agent: agent.parse().unwrap(),
            holder: None,
            initiated_by: None,
            envelope: Envelope::any(expires, true, 5),
        };
        let token = mint_root(&epoch.root_key(id), epoch.id(), &spec).unwrap();
        let mut record = TaskRecord {
            id,
            lineage: Box::new([id]),
            epoch: epoch.id(),
            agent: spec.agent.clone(),
            initiated_by: spec.agent,
            description: "a test".into(),
            created: now,
            expires: now.after(Ttl::from_secs(3600)),
            can_delegate: true,
            holder: None,
            bind_deadline: None,
            envelope: "{}".into(),
        };
        edit(&mut record);
        self.broker.state().create_task(record).unwrap();
        (id, token.as_text())
    }

    /// Flushes the audit log and returns its records.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.broker.audit().writer().flush().unwrap();
        let text = std::fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap();
        let record = |line| serde_json::from_str(line).unwrap();
        text.lines().map(record).collect()
    }

    /// Returns the event names of all records.
    pub(crate) fn events(&self) -> Vec<String> {
        let records = self.records();
        let name = |record: &Value| record["event"].as_str().unwrap().to_owned();
        records.iter().map(name).collect()
    }

    /// Returns the last record of an event.
    pub(crate) fn last(&self, event: &str) -> Value {
        let mut records = self.records().into_iter().rev();
        records.find(|record| record["event"] == event).unwrap()
    }
}

/// Returns a certified epoch that may mint for an hour.
pub(crate) fn epoch(now: Timestamp) -> EpochEntry {
    let candidate = Candidate::generate(now);
    let payload = DelegationPayload {
        epoch: candidate.id,
        broker_id: "test".to_owned(),
        public_key: candidate.public_key().unwrap(),
        issued_at: now,
        mint_until: now.after(Ttl::from_secs(3600)),
        valid_until: now.after(Ttl::from_secs(7200)),
    };
    let ca = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    candidate.certified(DelegationCertificate::sign(payload, &ca).unwrap())
}

pub(crate) fn load(dir: &Path, policy: &Value) -> Loaded {
    let path = dir.join("policy.json");
    std::fs::write(&path, policy.to_string()).unwrap();
    Loaded::load(&path, None).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the head of a request.
pub(crate) fn head(method: Method, path: &str, headers: &[(&str, &str)]) -> Head {
    let mut request = http::Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// Returns the head and body of an MCP request.
pub(crate) fn mcp(method: &str, params: Value, headers: &[(&str, &str)]) -> (Head, String) {
    let name = params["name"].as_str().or(params["uri"].as_str());
    let mut all = vec![
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ];
    let name = name.map(str::to_owned);
    all.extend(name.as_deref().map(|name| ("mcp-name", name)));
    all.extend(headers);
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    (head(Method::POST, "/mcp", &all), body.to_string())
}

/// Runs the first step of a request: admission by its head.
pub(crate) async fn admit(
    router: &Arc<Router>,
    peer: Peer,
    head: &Head,
) -> Result<Request, Answer> {
    match Arc::clone(router).admit(peer, head).await {
        Ok(admitted) => Ok(admitted),
        Err(response) => Err(answer(response).await),
    }
}

/// Runs the second step: handling with the body.
pub(crate) async fn finish(
    router: &Arc<Router>,
    admitted: Request,
    head: Head,
    body: &str,
) -> Answer {
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    answer(Arc::clone(router).answer(admitted, head, body).await).await
}

/// Runs both steps.
pub(crate) async fn ask(router: &Arc<Router>, peer: Peer, (head, body): (Head, String)) -> Answer {
    match admit(router, peer, &head).await {
        Ok(admitted) => finish(router, admitted, head, &body).await,
        Err(answer) => answer,
    }
}

async fn answer(response: http::Response<crate::response::Body>) -> Answer {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status, body }
}
