//! Tasks in number: the broker's own state and authentication, in this process, so that nothing but they is
//! measured. What stands beside each figure is the least that it could cost.

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use ephyr_broker::audit::Audit;
use ephyr_broker::auth::{self, Caller};
use ephyr_broker::broker::{Broker, Parts, SandboxView};
use ephyr_broker::clock;
use ephyr_broker::epoch::Candidate;
use ephyr_broker::http::Peer;
use ephyr_broker::policy::Loaded;
use ephyr_broker::signer::Signer;
use ephyr_broker::state::{State, TaskRecord};
use ephyr_broker::tasks;
use ephyr_names::{AgentName, Digest, TaskId, Ttl};
use ephyr_token::{
    DelegationCertificate, DelegationPayload, Envelope, HolderKey, Nonce, Proof, ProofRequest,
    RootSpec, mint_root, proof,
};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use ssh_key::{PrivateKey, private::Ed25519Keypair};

use crate::Failure;
use crate::pure::time;
use crate::row::{Row, median};

const FEW: usize = 100;
const MANY: usize = 100_000;
/// Tasks below one root.
const TREE: usize = 10_000;
const LIFE: Ttl = Ttl::from_secs(3600);

pub(crate) fn rows() -> Result<Vec<Row>, Failure> {
    let mut rows = vec![proof_check()?];
    let few = Crowd::new(FEW)?;
    let before = resident()?;
    let many = Crowd::new(MANY)?;
    let grown = resident()? - before;
    rows.push(Row::at_most(
        "100 000 live tasks (MB against 100 MB)",
        grown,
        100.0,
        1.0,
    ));
    let (among_few, among_many) = (few.admits()?, many.admits()?);
    rows.push(Row::at_most(
        "a token among 100 000 tasks, among 100 (ns)",
        among_many,
        among_few,
        1.15,
    ));
    let (of_few, of_many) = revocations(&few, &many)?;
    rows.push(Row::at_most(
        "a revocation among 100 000, among 100 (us)",
        of_many,
        of_few,
        1.15,
    ));
    rows.push(many.writes()?);
    rows.push(many.others_meanwhile()?);
    Ok(rows)
}

/// From the header's text to a proof that holds, against one verification of a signature as long.
fn proof_check() -> Result<Row, Failure> {
    let key = SigningKey::from_bytes(&[1; 32]);
    let holder = HolderKey::from_bytes(key.verifying_key().to_bytes())?;
    let request = ProofRequest {
        method: "POST",
        path: "/mcp",
        body: Digest([1; 32]),
        token: Digest([2; 32]),
    };
    let now = clock::now();
    let text = Proof::sign(&key, &request, Nonce([3; 16]), now).to_string();
    let check =
        || Proof::parse(&text).and_then(|proof| proof.check(&holder, &request, now, proof::SKEW));
    let message = [7; 121];
    let (public, signature) = (key.verifying_key().to_bytes(), key.sign(&message));
    // Key and signature as they come over the wire, and strictly: keys of small order prove nothing.
    let verify = || {
        VerifyingKey::from_bytes(&public)
            .is_ok_and(|key| key.verify_strict(&message, &signature).is_ok())
    };
    // In turns, so that a machine that slows down slows both.
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        ours.push(time(100, check));
        reference.push(time(100, verify));
    }
    Ok(Row::at_most(
        "proof check, one Ed25519 verification (ns)",
        median(ours),
        median(reference),
        1.15,
    ))
}

/// Medians of single revocations among few tasks and among many, in turns.
fn revocations(few: &Crowd, many: &Crowd) -> Result<(f64, f64), Failure> {
    let (of_few, of_many) = (few.caller()?, many.caller()?);
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for (one, other) in few.singles.iter().zip(&many.singles) {
        short.push(few.revokes(&of_few, one)?);
        long.push(many.revokes(&of_many, other)?);
    }
    Ok((median(short), median(long)))
}

/// A broker with so many live tasks, each the root of its own tree but those below one.
struct Crowd {
    broker: Arc<Broker>,
    runtime: tokio::runtime::Runtime,
    headers: HeaderMap,
    /// Tasks that can be revoked one by one.
    singles: Vec<TaskRecord>,
    tree: TaskRecord,
    dir: tempfile::TempDir,
}

const POLICY: &str = r#"{
    "roles": {"read": {"principal": "agent-read"}},
    "agents": {"a": {"uid": 4001}}
}"#;
/// The UID of its agent.
const UID: u32 = 4001;

impl Crowd {
    fn new(tasks: usize) -> Result<Self, Failure> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)?
        } else {
            tempfile::tempdir()?
        };
        let broker = broker(dir.path())?;
        let (record, token) = first(&broker)?;
        broker.state().create_task(record)?;
        let tree = task(&[])?;
        broker.state().create_task(tree.clone())?;
        let below = TREE.min(tasks / 2);
        for _ in 0..below {
            broker.state().create_task(task(&tree.lineage)?)?;
        }
        let mut singles = Vec::new();
        for n in below + 2..tasks {
            let single = task(&[])?;
            // Some more than are revoked, so that memory is the tasks' and not this list's.
            if n % (tasks / FEW.min(tasks)) == 0 {
                singles.push(single.clone());
            }
            broker.state().create_task(single)?;
        }
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"))?;
        headers.insert(AUTHORIZATION, bearer);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Self {
            broker,
            runtime,
            headers,
            singles,
            tree,
            dir,
        })
    }

    /// Nanoseconds to know a caller by its token.
    fn admits(&self) -> Result<f64, Failure> {
        self.admit()?;
        Ok(time(1_000, || self.admit().is_ok()))
    }

    fn admit(&self) -> Result<(), Failure> {
        let admitted = auth::admit(&self.broker, Peer::Uid(UID), &self.headers);
        black_box(self.runtime.block_on(admitted)?);
        Ok(())
    }

    /// The agent itself, without a token.
    fn caller(&self) -> Result<Caller, Failure> {
        let (head, ()) = http::Request::post("/mcp").body(())?.into_parts();
        let admitted = auth::admit(&self.broker, Peer::Uid(UID), &head.headers);
        let caller = self.runtime.block_on(admitted)?;
        Ok(caller.caller(&self.broker, &head, &[])?)
    }

    /// Microseconds to revoke a task as an agent does, its records included.
    fn revokes(&self, caller: &Caller, single: &TaskRecord) -> Result<f64, Failure> {
        let begun = Instant::now();
        let revoked = tasks::revoke(&self.broker, caller, single.id);
        black_box(self.runtime.block_on(revoked)?.cascade);
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    }

    /// Writes to the state journal for one task that is made, and what one append of as many bytes costs.
    fn writes(&self) -> Result<Row, Failure> {
        const TASKS: usize = 2_000;
        let state = self.broker.state();
        let before = written()?;
        for _ in 0..TASKS {
            state.create_task(task(&[])?)?;
        }
        let after = written()?;
        // The figure itself is read from a file of the kernel's, which writes nothing.
        let mut bare = std::fs::File::create(self.dir.path().join("bare"))?;
        for _ in 0..TASKS {
            bare.write_all(&[0; 500])?;
        }
        let appends = written()? - after;
        Ok(Row::at_most(
            "state journal: writes per task, bare appends",
            (after - before) / TASKS as f64,
            appends / TASKS as f64,
            1.0,
        ))
    }

    /// How long others' tokens take while trees of ten thousand are revoked, against the same while the
    /// other core is as busy with what concerns nobody.
    fn others_meanwhile(&self) -> Result<Row, Failure> {
        let revoking = || {
            let revoked = self
                .broker
                .live()
                .revoke(self.broker.state(), &self.tree, clock::now());
            black_box(revoked.is_ok() && self.broker.state().subtree(self.tree.id).len() > 1);
        };
        let alone = vec![TaskId::from_bits(1); TREE];
        let idle = || {
            // As much to walk through, but nothing that is shared.
            black_box(
                alone
                    .iter()
                    .map(|id| id.to_bits())
                    .fold(0, u128::wrapping_add),
            );
        };
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            reference.push(self.beside(&idle)?);
            ours.push(self.beside(&revoking)?);
        }
        Ok(Row::at_most(
            "others' tokens while a tree of 10 000 falls (ns)",
            median(ours),
            median(reference),
            1.1,
        ))
    }

    fn beside(&self, work: &(dyn Fn() + Sync)) -> Result<f64, Failure> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    work();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let took = self.admits();
            stop.store(true, Ordering::Relaxed);
            took
        })
    }
}

fn broker(dir: &Path) -> Result<Arc<Broker>, Failure> {
    let now = clock::now();
    let path = dir.join("policy.json");
    std::fs::write(&path, POLICY)?;
    let policy = Loaded::load(&path, None).map_err(|error| error.to_string())?;
    let (audit, _) = Audit::open(&dir.join("audit.jsonl"), 1 << 26, policy.hash())?;
    let (state, _) = State::open(dir, now)?;
    let candidate = Candidate::generate(now);
    let payload = DelegationPayload {
        epoch: candidate.id,
        broker_id: "bench".to_owned(),
        public_key: candidate.public_key()?,
        issued_at: now,
        mint_until: now.after(LIFE),
        valid_until: now.after(Ttl::from_secs(7200)),
    };
    let ca = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    state.add_epoch(candidate.certified(DelegationCertificate::sign(payload, &ca)?))?;
    let parts = Parts {
        state,
        audit,
        signer: Signer::new(dir.join("signer.sock")),
        sandbox: SandboxView {
            landlock_abi: 0,
            landlock: Vec::new(),
            state_in_memory: true,
        },
        ca_pins: None,
    };
    Ok(Arc::new(Broker::new(parts, Arc::new(policy), now)))
}

/// A task with a token, by which a caller is known.
fn first(broker: &Broker) -> Result<(TaskRecord, String), Failure> {
    let epoch = broker.state().newest_epoch().ok_or("no epoch")?;
    let mut record = task(&[])?;
    record.epoch = epoch.id();
    let spec = RootSpec {
        task: record.id,
        agent: record.agent.clone(),
        holder: None,
        initiated_by: None,
        envelope: Envelope::any(record.expires, true, 5),
    };
    let token = mint_root(&epoch.root_key(record.id), epoch.id(), &spec)?;
    Ok((record, token.as_text()))
}

/// A task as `task_create` makes it.
fn task(above: &[TaskId]) -> Result<TaskRecord, Failure> {
    let now = clock::now();
    let id = clock::task_id(now);
    let agent: AgentName = "a".parse()?;
    let expires = now.after(LIFE);
    let envelope = serde_json::to_string(&Envelope::any(expires, true, 5))?;
    Ok(TaskRecord {
        id,
        lineage: above.iter().copied().chain([id]).collect(),
        epoch: clock::epoch_id(now),
        agent: agent.clone(),
        initiated_by: agent,
        description: "tidy up the temporary files of the nightly build".into(),
        created: now,
        expires,
        can_delegate: true,
        holder: None,
        bind_deadline: None,
        envelope: envelope.into(),
    })
}

/// Resident memory of this process, in MB.
fn resident() -> Result<f64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = statm.split(' ').nth(1).ok_or("no statm")?.parse()?;
    Ok(pages * 4096.0 / 1e6)
}

/// How many writes this process has made.
fn written() -> Result<f64, Failure> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("syscw: "));
    Ok(line.ok_or("no count of writes")?.parse()?)
}
