//! What the models begin with.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ephyr_models::ids;
use ephyr_models::live::Live;
use ephyr_models::state::{State, TaskRecord};
use ephyr_names::{AgentName, TaskId, Timestamp, Ttl};
use ephyr_policy::{Purpose, SshAction, Subject};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// Orders that are tried at random; as many again favour few changes between threads, which is where most
/// mistakes lie.
const ORDERS: usize = 1500;

/// Tries a model in many orders.
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    Runner::new(RandomScheduler::new(ORDERS), config()).run(move || model());
    Runner::new(PctScheduler::new(3, ORDERS), config()).run(move || again());
}

fn config() -> Config {
    let mut config = Config::new();
    // What is run opens files and writes JSON, which takes more than a model's usual stack.
    config.stack_size = 1 << 20;
    config
}

/// A twin that is wrong on purpose: some order must break it.
pub(crate) fn must_break(model: impl Fn() + Send + Sync + 'static) {
    let broken = catch_unwind(AssertUnwindSafe(|| check(model)));
    assert!(
        broken.is_err(),
        "the model does not see that the order is wrong"
    );
}

pub(crate) fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    NOW.after(Ttl::from_secs(seconds))
}

/// Memory, where there is any: thousands of states are opened.
pub(crate) fn dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// A task of agent `a` below `above`.
pub(crate) fn task(above: &[TaskId]) -> TaskRecord {
    let id = ids::task_id(NOW);
    let mut lineage = above.to_vec();
    lineage.push(id);
    TaskRecord {
        id,
        lineage: lineage.into(),
        epoch: ids::epoch_id(NOW),
        agent: agent("a"),
        initiated_by: agent("a"),
        description: "a model".into(),
        created: NOW,
        expires: later(600),
        can_delegate: true,
        holder: None,
        bind_deadline: None,
        envelope: "{}".into(),
    }
}

pub(crate) fn subject(task: &TaskRecord) -> Subject {
    let lineage = task.lineage.iter().map(|id| (*id, agent("a")));
    Subject {
        lineage: lineage.collect(),
        ..Subject::direct(agent("a"))
    }
}

pub(crate) fn action(purpose: Purpose) -> SshAction {
    SshAction {
        target: "web".parse().unwrap(),
        role: "read".parse().unwrap(),
        purpose,
        ttl: None,
    }
}

pub(crate) fn command() -> SshAction {
    action(Purpose::Exec {
        command: "true".to_owned(),
    })
}

/// A state with a task and a child of it, and nothing running.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) live: Live,
    pub(crate) root: TaskRecord,
    pub(crate) child: TaskRecord,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let dir = dir();
        let (state, _) = State::open(dir.path(), NOW).unwrap();
        let root = task(&[]);
        let child = task(&root.lineage);
        state.create_task(root.clone()).unwrap();
        state.create_task(child.clone()).unwrap();
        Arc::new(Self {
            state,
            live: Live::default(),
            root,
            child,
            dir,
        })
    }

    /// The state as the next start would find it.
    pub(crate) fn reopened(&self) -> State {
        let copy = dir();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        State::open(copy.path(), NOW).unwrap().0
    }
}
