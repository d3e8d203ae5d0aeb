//! Startup: loads the configuration, opens the journal and applies the sandbox before the first connection is
//! accepted.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use ephyr_sandbox::{
    Accounts, Activated, Confinement, Feature, Filter, LandlockReport, MemoryLock, Notifier,
    Signals, lock_memory, log, open_socket, set_non_dumpable,
};
use ephyr_signer_ipc::SandboxReport;

use crate::args::Options;
use crate::error::StartError;
use crate::journal::{Journal, ROTATION_LENGTH};
use crate::key::CaKey;
use crate::policy::{PolicyError, PolicySource};
use crate::server::{Server, clocks};
use crate::service::{Service, random};

/// The name of the socket that systemd passes (`FileDescriptorName=`).
const SOCKET_NAME: &str = "signer";

const SHARED_USER: &str = "the broker runs as the signer's user, so an attacker who takes over the broker can \
                           read the CA key: give the signer a user of its own";

const UNPINNED: &str = "started without --ca-pub, so any key in the CA key file is accepted: name the file with the \
                        CA's public key";

/// Checks whether a reload would accept the policy, with the same checks as a reload.
pub(crate) fn check(policy: &Path, broker_user: &str) -> Result<(), StartError> {
    let broker = Accounts::read()?.user(broker_user)?;
    let source = PolicySource::new(policy, &broker);
    let landlock = confine(policy, 0)?;
    source.load_for(landlock.abi)?;
    Ok(())
}

/// Opens and checks everything that the signer needs, and applies the sandbox.
pub(crate) fn prepare(options: &Options) -> Result<Server, StartError> {
    // Before the key is read: no core file or tracer may see it.
    set_non_dumpable()?;
    let accounts = Accounts::read()?;
    let broker = accounts.user(&options.broker_user)?;
    let source = PolicySource::new(&options.policy, &broker);
    if source.is_shared_user() {
        log::warning(SHARED_USER);
    }
    let policy = source.load()?;
    let ca = CaKey::load(&options.ca_key)?;
    match &options.ca_pub {
        Some(list) => ca.check_listed(list)?,
        None => log::warning(UNPINNED),
    }
    let (journal, found) = Journal::open(&options.journal, clocks().time, ROTATION_LENGTH)?;
    if found.torn {
        log::warning(
            "the journal's last line was unfinished; it was moved to a file beside the journal",
        );
    }
    if let Some(warning) = &found.warning {
        log::warning(warning);
    }
    if let Some(aside) = &found.set_aside {
        log::info(&format!(
            "the journal was rotated; earlier entries are in {}",
            aside.display()
        ));
    }
    let listener = listen(options, &accounts)?;
    listener.set_nonblocking(true)?;
    let notifier = Notifier::from_env()?;
    let signals = Signals::install()?;
    // After the key is loaded: under a low RLIMIT_MEMLOCK only memory that is mapped now is locked.
    let locked = lock_memory();
    if let MemoryLock::Refused(why) = &locked {
        log::warning(&format!(
            "memory is not locked, so the CA key could be written to swap: {why}"
        ));
    }
    // Last, because everything above opens files or creates sockets, which the sandbox denies.
    let landlock = confine(source.path(), policy.sandbox().minimum_abi)?;
    // If the sandbox blocks getrandom, fail now instead of refusing every request.
    random::<32>()?;
    let report = report(&landlock, &locked);
    log::info(&format!(
        "CA {}, policy {}, broker {} ({}), {} journal entries, Landlock ABI {} ({}), seccomp, memory {}",
        ca.fingerprint(),
        policy.hash(),
        broker.name,
        broker.uid,
        found.entries,
        report.landlock_abi,
        report.landlock.join(" "),
        if report.memory_locked {
            "locked"
        } else {
            "not locked"
        },
    ));
    let now = clocks();
    let mut service = Service::new(ca, policy, journal, report, now)?;
    service.commit(now)?;
    Ok(Server::new(listener, signals, notifier, service, source))
}

fn listen(options: &Options, accounts: &Accounts) -> Result<UnixListener, StartError> {
    if let Some(listener) = Activated::from_env().unix(SOCKET_NAME)? {
        return Ok(listener);
    }
    let group = options.socket_group.as_deref();
    let group = group.map(|name| accounts.group(name)).transpose()?;
    Ok(open_socket(&options.socket, group)?)
}

/// Confines the process. Readable afterwards: the policy's directory and the Nix store, which it may link to.
/// The open journal, socket and pipes stay usable.
fn confine(policy: &Path, minimum_abi: u32) -> Result<LandlockReport, StartError> {
    let mut confinement = Confinement::new(minimum_abi).read_if_present("/nix/store");
    let resolved = fs::canonicalize(policy).map_err(|why| PolicyError::Io {
        path: policy.to_owned(),
        why,
    })?;
    for path in [policy, &resolved] {
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        confinement = confinement.read(directory.unwrap_or(Path::new(".")));
    }
    let report = confinement.apply()?;
    if !report.enforced.contains(&Feature::Files) {
        log::warning(
            "this kernel has no Landlock: only the system call filter confines the signer",
        );
    }
    Filter::Signer.apply()?;
    Ok(report)
}

fn report(landlock: &LandlockReport, locked: &MemoryLock) -> SandboxReport {
    let enforced = landlock.enforced.iter();
    SandboxReport {
        landlock_abi: landlock.abi,
        landlock: enforced
            .map(|feature| feature.as_str().to_owned())
            .collect(),
        seccomp: true,
        memory_locked: locked.is_locked(),
        non_dumpable: true,
    }
}
