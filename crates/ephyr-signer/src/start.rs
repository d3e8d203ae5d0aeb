//! Everything that happens once: the configuration is complete, the sandbox closed and the journal open
//! before the first connection is accepted.

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
use crate::journal::{Journal, LONG};
use crate::key::CaKey;
use crate::policy::{PolicyError, PolicySource};
use crate::server::{Server, clocks};
use crate::service::{Service, random};

/// The name of the socket that systemd passes.
const SOCKET_NAME: &str = "signer";

const SHARED_USER: &str = "the broker runs as the signer's own user, so whoever breaks into it can read \
                           the CA key: give the signer a user of its own";

const UNPINNED: &str = "started without --ca-pub, so whatever key the file holds is taken for the CA's: name the \
                        file with the CA's public key";

/// Says whether a reload would take the policy, by all that a reload asks for.
pub(crate) fn check(policy: &Path, broker_user: &str) -> Result<(), StartError> {
    let broker = Accounts::read()?.user(broker_user)?;
    let source = PolicySource::new(policy, &broker);
    let landlock = confine(policy, 0)?;
    source.load_for(landlock.abi)?;
    Ok(())
}

/// Prepares everything and closes the sandbox.
pub(crate) fn prepare(options: &Options) -> Result<Server, StartError> {
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
    let (journal, found) = Journal::open(&options.journal, clocks().time, LONG)?;
    if found.torn {
        log::warning("the journal's last line was unfinished and is put aside in a file beside it");
    }
    if let Some(warning) = &found.warning {
        log::warning(warning);
    }
    if let Some(aside) = &found.set_aside {
        log::info(&format!(
            "the journal had grown long; what came before is in {}",
            aside.display()
        ));
    }
    let listener = listen(options, &accounts)?;
    listener.set_nonblocking(true)?;
    let notifier = Notifier::from_env()?;
    let signals = Signals::install()?;
    let locked = lock_memory();
    if let MemoryLock::Refused(why) = &locked {
        log::warning(&format!(
            "memory is not locked, so the CA key could reach swap: {why}"
        ));
    }
    let landlock = confine(source.path(), policy.sandbox().minimum_abi)?;
    // Better not to serve than to refuse each request.
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

/// From here on: the policy's directory can be read, and the Nix store that it may link to; the open
/// journal, socket and pipes go on; nothing else.
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
