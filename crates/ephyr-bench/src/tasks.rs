//! Many tasks: measures the broker's state, token verification and audit log in this process, without the rest of
//! the broker. Each reference is the minimal cost of the work.

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use ephyr_audit::{AttemptKind, Event, Record};
use ephyr_core::audit::Audit;
use ephyr_core::epoch::Candidate;
use ephyr_core::live::Live;
use ephyr_core::state::{State, TaskRecord};
use ephyr_core::{ids, tokens};
use ephyr_names::{AgentName, Digest, TaskId, Timestamp, Ttl};
use ephyr_token::{
    DelegationCertificate, DelegationPayload, Envelope, HolderKey, Nonce, Proof, ProofRequest,
    RootSpec, mint_root, proof,
};
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
    let few = Tasks::new(FEW)?;
    let before = resident()?;
    let many = Tasks::new(MANY)?;
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

/// Measures a proof check from the header's text, against one verification of a signature of the same length.
fn proof_check() -> Result<Row, Failure> {
    let key = SigningKey::from_bytes(&[1; 32]);
    let holder = HolderKey::from_bytes(key.verifying_key().to_bytes())?;
    let request = ProofRequest {
        method: "POST",
        path: "/mcp",
        body: Digest([1; 32]),
        token: Digest([2; 32]),
    };
    let now = now();
    let text = Proof::sign(&key, &request, Nonce([3; 16]), now).to_string();
    let check =
        || Proof::parse(&text).and_then(|proof| proof.check(&holder, &request, now, proof::SKEW));
    let message = [7; 121];
    let (public, signature) = (key.verifying_key().to_bytes(), key.sign(&message));
    // Key and signature in wire form, verified strictly: the check must reject keys of small order, too.
    let verify = || {
        VerifyingKey::from_bytes(&public)
            .is_ok_and(|key| key.verify_strict(&message, &signature).is_ok())
    };
    // Alternately, so that a slow phase of the machine affects both.
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

/// Returns the median times of single revocations among few and among many tasks, measured alternately.
fn revocations(few: &Tasks, many: &Tasks) -> Result<(f64, f64), Failure> {
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for (one, other) in few.singles.iter().zip(&many.singles) {
        short.push(few.revokes(one)?);
        long.push(many.revokes(other)?);
    }
    Ok((median(short), median(long)))
}

/// A state with live tasks: one tree, and roots without children.
struct Tasks {
    state: State,
    live: Live,
    audit: Audit,
    runtime: tokio::runtime::Runtime,
    token: String,
    /// Tasks that can be revoked one by one.
    singles: Vec<TaskRecord>,
    tree: TaskRecord,
    dir: tempfile::TempDir,
}

impl Tasks {
    fn new(tasks: usize) -> Result<Self, Failure> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)?
        } else {
            tempfile::tempdir()?
        };
        let (audit, _) = Audit::open(&dir.path().join("audit.jsonl"), 1 << 26, Digest::ZERO)?;
        let state = state(dir.path())?;
        let (record, token) = first(&state)?;
        state.create_task(record)?;
        let tree = task(&[])?;
        state.create_task(tree.clone())?;
        let below = TREE.min(tasks / 2);
        for _ in 0..below {
            state.create_task(task(&tree.lineage)?)?;
        }
        let mut singles = Vec::new();
        for n in below + 2..tasks {
            let single = task(&[])?;
            // Keep only a sample, so that this list does not distort the memory figure.
            if n % (tasks / FEW.min(tasks)) == 0 {
                singles.push(single.clone());
            }
            state.create_task(single)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Self {
            state,
            live: Live::default(),
            audit,
            runtime,
            token,
            singles,
            tree,
            dir,
        })
    }

    /// Returns the nanoseconds to find a token's live task.
    fn admits(&self) -> Result<f64, Failure> {
        self.admit()?;
        Ok(time(1_000, || self.admit().is_ok()))
    }

    fn admit(&self) -> Result<(), Failure> {
        black_box(tokens::verify(&self.state, &self.token, now())?);
        Ok(())
    }

    /// Returns the microseconds to revoke a task as `task_revoke` does, including attempt and outcome.
    fn revokes(&self, single: &TaskRecord) -> Result<f64, Failure> {
        let begun = Instant::now();
        self.runtime.block_on(async {
            let stamp = now();
            let record = Record::new(
                ids::record_id(stamp),
                stamp,
                Event::TaskRevokeAttempt,
                Digest::ZERO,
            );
            let record = record.with_lineage(single.lineage.iter().copied());
            let attempt = self.audit.attempt(AttemptKind::TaskRevoke, record).await?;
            let ended = self.live.revoke(&self.state, single, now())?;
            let cascade = self.state.subtree(single.id).len();
            attempt.finish(ids::record_id(stamp), now(), |outcome| {
                outcome.with_detail("tasks", cascade.to_string())
            });
            black_box(ended);
            Ok::<_, Failure>(())
        })?;
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    }

    /// Counts the write calls of the state journal for each created task, against bare appends of the same size.
    fn writes(&self) -> Result<Row, Failure> {
        const TASKS: usize = 2_000;
        let state = &self.state;
        let before = written()?;
        for _ in 0..TASKS {
            state.create_task(task(&[])?)?;
        }
        let after = written()?;
        // Reading the counter from /proc does not change it.
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

    /// Measures token verification while a tree of ten thousand tasks is revoked, against the same while the
    /// other core does unrelated work.
    fn others_meanwhile(&self) -> Result<Row, Failure> {
        let revoking = || {
            let revoked = self.live.revoke(&self.state, &self.tree, now());
            black_box(revoked.is_ok() && self.state.subtree(self.tree.id).len() > 1);
        };
        let alone = vec![TaskId::from_bits(1); TREE];
        let unrelated = || {
            // Walks a list of the same length that is not shared.
            black_box(
                alone
                    .iter()
                    .map(|id| id.to_bits())
                    .fold(0, u128::wrapping_add),
            );
        };
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            reference.push(self.beside(&unrelated)?);
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

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Returns a state with an epoch that may mint.
fn state(dir: &Path) -> Result<State, Failure> {
    let now = now();
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
    Ok(state)
}

/// Returns a task and its token.
fn first(state: &State) -> Result<(TaskRecord, String), Failure> {
    let epoch = state.newest_epoch().ok_or("no epoch")?;
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

/// Returns a task as created by `task_create`, below the tasks `above`.
fn task(above: &[TaskId]) -> Result<TaskRecord, Failure> {
    let now = now();
    let id = ids::task_id(now);
    let agent: AgentName = "a".parse()?;
    let expires = now.after(LIFE);
    let envelope = serde_json::to_string(&Envelope::any(expires, true, 5))?;
    Ok(TaskRecord {
        id,
        lineage: above.iter().copied().chain([id]).collect(),
        epoch: ids::epoch_id(now),
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

/// Returns the resident memory of this process in MB.
fn resident() -> Result<f64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = statm.split(' ').nth(1).ok_or("no statm")?.parse()?;
    Ok(pages * 4096.0 / 1e6)
}

/// Returns the number of write system calls of this process.
fn written() -> Result<f64, Failure> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("syscw: "));
    Ok(line.ok_or("no count of writes")?.parse()?)
}
