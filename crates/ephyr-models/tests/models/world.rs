//! The initial state of the models, and their runner.

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

/// Number of random interleavings. As many again have few switches between threads, where most errors occur.
const INTERLEAVINGS: usize = 1500;

/// Runs a model in many interleavings.
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    Runner::new(RandomScheduler::new(INTERLEAVINGS), config()).run(move || model());
    Runner::new(PctScheduler::new(3, INTERLEAVINGS), config()).run(move || again());
}

fn config() -> Config {
    let mut config = Config::new();
    // The state opens files and writes JSON, which needs more than the default stack.
    config.stack_size = 1 << 20;
    config
}

/// Runs a model that is wrong on purpose: some interleaving must break it.
pub(crate) fn must_break(model: impl Fn() + Send + Sync + 'static) {
    let broken = catch_unwind(AssertUnwindSafe(|| check(model)));
    assert!(
        broken.is_err(),
        "no interleaving broke the wrong order of steps"
    );
}

pub(crate) fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    NOW.after(Ttl::from_secs(seconds))
}

/// Creates a directory, on tmpfs if possible since thousands of states are opened.
pub(crate) fn dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Returns a task of agent `a` below `above`.
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

/// A state with a root task, its child, and no running action.
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

    /// Opens a copy of the state, as a restart would.
    pub(crate) fn reopened(&self) -> State {
        let copy = dir();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        State::open(copy.path(), NOW).unwrap().0
    }
}
