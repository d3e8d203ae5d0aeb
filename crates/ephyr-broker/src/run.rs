//! Startup, serving and shutdown. All files and sockets are opened and checked before the first connection is accepted,
//! and the process confines itself before it starts a second thread.

mod error;

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ephyr_audit::{Event, Inbox};
use ephyr_core::audit::Audit;
use ephyr_core::ids;
use ephyr_core::live::Ended;
use ephyr_core::signer::Signer;
use ephyr_core::state::{Opened, State};
use ephyr_http::{Listener, MAX_BLOCKING_THREADS, Workers, serve};
use ephyr_mcp::SessionKey;
use ephyr_sandbox::{
    Accounts, Activated, Confinement, Network, Notifier, exit, log, open_socket, read_regular_text,
};
use ephyr_token::{CaKeys, MAX_CA_LIST};
use rustix::fs::statfs;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::background::{self, BackgroundTasks};
use crate::broker::{Broker, Parts, SandboxView};
use crate::clock;
use crate::config::{Config, Listen};
use crate::deadline::{self, StopDeadline};
use crate::http::{Entrypoint, Router};
use crate::policy::{self, Loaded};
use crate::reload::{reload_on, wait_for_signer};

pub use error::RunError;

/// Time allowed for running commands to end by themselves after SIGTERM.
const DRAIN: Duration = Duration::from_secs(8);
/// Time allowed for the remaining commands to clean up after they were ended.
const CLEAN_UP: Duration = Duration::from_secs(6);
/// Time allowed for threads of the runtime to end at exit.
const LEFT_OVER: Duration = Duration::from_millis(200);
/// `f_type` of tmpfs and ramfs (statfs(2)).
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Runs the program and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(error) => {
            // clap also returns the text of `--help` as an error.
            let _ = error.print();
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            return ExitCode::from(code);
        }
    };
    let outcome = if config.check {
        check(&config)
    } else {
        start(config)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Policy diagnostics have one line each.
            for line in format!("ephyr-broker: {error}").lines() {
                log::error(line);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Sockets opened before confinement.
struct Sockets {
    unix: std::os::unix::net::UnixListener,
    tcp: Option<TcpListener>,
}

fn start(config: Config) -> Result<(), RunError> {
    ephyr_heap::share_arenas();
    let notifier = Notifier::from_env()?;
    let policy = Loaded::load(&config.policy, config.credentials_dir.as_deref())?;
    for warning in policy.warnings() {
        log::warning(&warning.to_string());
    }
    let ca_pins = config.ca_pub.as_deref().map(read_ca).transpose()?;
    let state_in_memory = check_state_dir(&config)?;
    let sockets = open_sockets(&config)?;
    let landlock = confine(&config, policy.sandbox().minimum_abi)?;
    // Landlock confines only the calling thread and its later children, so threads start only now.
    let deadline = StopDeadline::start(deadline::LIMIT, deadline::end_process)?;
    let now = clock::now();
    let (audit, found) = Audit::open(&config.audit_log, config.audit_max_bytes, policy.hash())?;
    if let Some(torn) = found.torn {
        log::warning(&format!(
            "the audit log's unfinished last line was put aside: {torn:?}"
        ));
    }
    let (state, opened) = State::open(&config.state_dir, now).map_err(|why| RunError::State {
        path: config.state_dir.clone(),
        why,
    })?;
    let sandbox = SandboxView {
        landlock_abi: landlock.abi,
        landlock: landlock
            .enforced
            .iter()
            .map(|feature| feature.as_str().to_owned())
            .collect(),
        state_in_memory,
    };
    log::info(&format!(
        "landlock abi={} enforced={}",
        sandbox.landlock_abi,
        sandbox.landlock.join(",")
    ));
    let parts = Parts {
        state,
        audit,
        signer: Signer::new(config.signer_socket.clone()),
        sandbox,
        ca_pins,
    };
    let broker = Arc::new(Broker::new(parts, Arc::new(policy), now));
    for warning in broker.warnings() {
        log::warning(&format!("warning: {warning}"));
    }
    // Connections are served by worker threads; the rest runs on this one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()?;
    let outcome = runtime.block_on(run(broker, config, sockets, opened, notifier, deadline));
    // Do not wait for a thread that is still reading or comparing.
    runtime.shutdown_timeout(LEFT_OVER);
    outcome
}

/// Checks whether a reload would put the policy in force. Credentials are not checked: systemd shows them only to the
/// service's own processes.
fn check(config: &Config) -> Result<(), RunError> {
    let policy = policy::read(&config.policy)?;
    let mut confinement = Confinement::new(policy.sandbox().minimum_abi).network(Network::Any);
    if let Some(directory) = config.signer_socket.parent() {
        confinement = confinement.connect_unix(directory);
    }
    confinement.apply()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signer = Signer::new(config.signer_socket.clone());
    runtime.block_on(wait_for_signer(&signer, policy.hash()))?;
    Ok(())
}

fn read_ca(path: &Path) -> Result<CaKeys, RunError> {
    let failed = |why| RunError::CaList {
        path: path.to_owned(),
        why,
    };
    let text = read_regular_text(path, MAX_CA_LIST).map_err(|why| failed(why.to_string()))?;
    CaKeys::parse(&text).map_err(|why| failed(why.to_string()))
}

/// Returns whether the state directory is in memory. If it is not, the configuration must allow that.
fn check_state_dir(config: &Config) -> Result<bool, RunError> {
    let path = config.state_dir.clone();
    let found = match statfs(&path) {
        Ok(found) => found,
        Err(why) => {
            return Err(RunError::StateDirectory {
                path,
                why: why.into(),
            });
        }
    };
    let kind = u64::try_from(found.f_type).unwrap_or(0);
    let in_memory = MEMORY_FILE_SYSTEMS.contains(&kind);
    if !in_memory && !config.allow_state_on_disk {
        return Err(RunError::StateOnDisk(path));
    }
    Ok(in_memory)
}

fn open_sockets(config: &Config) -> Result<Sockets, RunError> {
    let mut activated = Activated::from_env();
    let unix = match activated.unix("broker")? {
        Some(socket) => socket,
        None => {
            let group = match &config.socket_group {
                None => None,
                Some(name) => Some(Accounts::read()?.group(name)?),
            };
            open_socket(&config.socket, group)?
        }
    };
    let tcp = match (activated.tcp("mcp")?, config.mcp_listen) {
        (Some(socket), _) => Some(socket),
        (None, Listen::Off) => None,
        (None, Listen::On(address)) => {
            let bound = TcpListener::bind(address);
            Some(bound.map_err(|why| RunError::Listen { address, why })?)
        }
    };
    unix.set_nonblocking(true)?;
    if let Some(tcp) = &tcp {
        tcp.set_nonblocking(true)?;
        if !tcp.local_addr()?.ip().is_loopback() {
            return Err(RunError::NotLoopback);
        }
    }
    Ok(Sockets { unix, tcp })
}

/// Confines the process: it can read the policy and credentials, write state and log, connect to the signer, resolve
/// names and reach targets, and access nothing else in the file system.
fn confine(config: &Config, minimum_abi: u32) -> Result<ephyr_sandbox::LandlockReport, RunError> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => ".".into(),
    };
    let mut confinement = Confinement::new(minimum_abi)
        .network(Network::Any)
        .name_resolution()
        .read(parent(&config.policy))
        .write(&config.state_dir)
        .write(parent(&config.audit_log))
        .connect_unix(parent(&config.signer_socket));
    if let Some(dir) = &config.credentials_dir {
        confinement = confinement.read(dir);
    }
    Ok(confinement.apply()?)
}

async fn run(
    broker: Arc<Broker>,
    config: Config,
    sockets: Sockets,
    opened: Opened,
    notifier: Notifier,
    deadline: StopDeadline,
) -> Result<(), RunError> {
    let (stop, stopping) = watch::channel(false);
    let hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    record_startup(&broker, &opened).await?;
    background::first_epoch(&broker).await;
    let mut background = BackgroundTasks::start(&broker, &stopping);
    let serving = listen(&broker, &config, sockets, &stopping)?;
    // Return the memory that reading policy and log needed.
    ephyr_heap::trim();
    notifier.ready();
    log::notice(&format!(
        "policy {} is in force; ready",
        broker.policy_hash()
    ));

    let mut watchdog = tokio::time::interval(
        notifier
            .watchdog_interval()
            .unwrap_or(Duration::from_secs(3600)),
    );
    // A reload may wait for the signer, which must delay neither shutdown nor the watchdog.
    let mut reloads = std::pin::pin!(reload_on(hangup, &broker, &config, &notifier));
    let outcome = loop {
        tokio::select! {
            () = &mut reloads => {}
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            ended = background.ended() => break Err(ended.into()),
            _ = watchdog.tick() => notifier.watchdog(),
        }
    };
    drop(deadline);
    notifier.stopping();
    log::notice("stopping: waiting for running requests");
    stop.send_replace(true);
    drain(&broker, serving).await;
    let _ = tokio::time::timeout(CLEAN_UP, background.finish()).await;
    shut_down(&broker).await;
    outcome
}

async fn record_startup(broker: &Broker, opened: &Opened) -> Result<(), RunError> {
    let state = match opened {
        Opened::Fresh => {
            log::notice("no previous state: earlier tokens are invalid");
            "fresh".to_owned()
        }
        Opened::Resumed(tasks) => {
            log::info(&format!(
                "recovered the previous state with {tasks} live tasks"
            ));
            format!("resumed {tasks} tasks")
        }
        Opened::Damaged(why) => {
            log::error(&format!(
                "the state journal is damaged ({why}): earlier tokens are invalid"
            ));
            format!("damaged: {why}")
        }
    };
    let record = broker
        .own_record(Event::Startup)
        .with_detail("version", env!("CARGO_PKG_VERSION"))
        .with_detail("state", state)
        .with_detail("landlock_abi", broker.sandbox().landlock_abi.to_string());
    broker.audit().durable(&record).await?;
    Ok(())
}

fn listen(
    broker: &Arc<Broker>,
    config: &Config,
    sockets: Sockets,
    stopping: &watch::Receiver<bool>,
) -> Result<Vec<tokio::task::JoinHandle<()>>, RunError> {
    let router = |entrypoint| -> Result<Arc<Router>, RunError> {
        let key = SessionKey::from_bytes(ids::random());
        Ok(Arc::new(Router::new(Arc::clone(broker), entrypoint, key)?))
    };
    let workers = Arc::new(Workers::start(|| Inbox::of_this_thread().hand_out())?);
    let unix = Listener::Unix(tokio::net::UnixListener::from_std(sockets.unix)?);
    log::info(&format!("listening socket={}", config.socket.display()));
    let mut serving = vec![tokio::spawn(serve(
        unix,
        router(Entrypoint::Unix)?,
        Arc::clone(&workers),
        stopping.clone(),
        DRAIN + CLEAN_UP,
    ))];
    if let Some(tcp) = sockets.tcp {
        let address = tcp.local_addr()?;
        broker.set_mcp_address(address);
        log::info(&format!("listening mcp={address}"));
        let origins = config.mcp_origins.clone();
        let tcp = Listener::Tcp(tokio::net::TcpListener::from_std(tcp)?);
        serving.push(tokio::spawn(serve(
            tcp,
            router(Entrypoint::Tcp { origins })?,
            workers,
            stopping.clone(),
            DRAIN + CLEAN_UP,
        )));
    }
    Ok(serving)
}

/// Waits for running commands to end, then ends those that remain.
async fn drain(broker: &Broker, serving: Vec<tokio::task::JoinHandle<()>>) {
    let idle = async {
        while broker.live().count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(DRAIN, idle).await.is_err() {
        let ended = broker.live().end(Ended::Shutdown, |_, _| true);
        log::notice(&format!("{ended} running commands were ended"));
    }
    let rest = async {
        while broker.live().count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(CLEAN_UP, rest).await;
    for task in serving {
        // All commands have ended; a listener that is still busy only holds idle connections.
        let _ = tokio::time::timeout(Duration::from_millis(500), task).await;
    }
}

async fn shut_down(broker: &Arc<Broker>) {
    broker.flush_reads();
    broker.audit().note(broker.own_record(Event::Shutdown));
    let writer = broker.audit().writer().clone();
    let flushed = tokio::task::spawn_blocking(move || writer.flush()).await;
    if flushed.is_ok_and(|flushed| flushed.is_ok()) {
        let _ = tokio::time::timeout(Duration::from_secs(2), background::checkpoint(broker)).await;
    }
    let writer = broker.audit().writer().clone();
    let closed: Result<Result<(), _>, _> =
        tokio::task::spawn_blocking(move || writer.close()).await;
    if let Ok(Err(error)) = closed {
        log::error(&format!(
            "the audit log could not be closed cleanly: {error}"
        ));
    }
}
