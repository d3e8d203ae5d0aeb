//! `ephyr sandbox`: restricts this process with Landlock and replaces it with the command.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use ephyr_sandbox::{Confinement, Feature, LandlockReport, Network, SandboxError};

use crate::args::Sandbox;
use crate::failure::{CANNOT_RUN, COMMAND_NOT_FOUND, Failure, NO_INPUT, UNAVAILABLE};

/// Paths that every program needs to start; missing ones are skipped.
const SYSTEM: [&str; 11] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    // On NixOS, the paths of programs contain links here.
    "/run/current-system",
    "/etc/static",
    "/etc",
];

/// Devices without data or access to hardware.
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// Runs the command in place of this process; returns only if that fails.
pub(crate) fn run(sandbox: &Sandbox) -> Failure {
    // Never empty: clap requires at least one word.
    let Some((program, arguments)) = sandbox.command.split_first() else {
        return Failure::usage("no command");
    };
    let own = rustix::process::geteuid().as_raw();
    if let Some(uid) = sandbox.uid.filter(|uid| *uid != own) {
        return another_user(own, uid);
    }
    match confinement(sandbox).apply() {
        Ok(report) if sandbox.verbose => print_note(&describe(&report)),
        Ok(_) => {}
        Err(error) => return not_confined(&error),
    }
    let error = Command::new(program).args(arguments).exec();
    let program = program.to_string_lossy();
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::new(
            COMMAND_NOT_FOUND,
            "no_command",
            format!("{program} cannot be executed: {error}"),
        );
    }
    let advice = if error.kind() == io::ErrorKind::PermissionDenied {
        "; outside the system's directories, allow it with --ro DIRECTORY"
    } else {
        ""
    };
    Failure::new(
        CANNOT_RUN,
        "cannot_run",
        format!("{program} cannot be executed: {error}{advice}"),
    )
}

/// Returns the failure for a process with another user id than the expected one: systemd-sysusers assigns another id
/// if the requested one is taken.
fn another_user(own: u32, expected: u32) -> Failure {
    let text = format!(
        "this process runs as UID {own} and not as {expected}, which identifies the agent to the broker and the firewall; \
         the command was not run. Find the owner of {expected} (getent passwd {expected}); then free that UID for the \
         agent's user, or choose another UID, also in the policy"
    );
    Failure::new(CANNOT_RUN, "another_uid", text)
}

fn confinement(sandbox: &Sandbox) -> Confinement {
    let mut confinement = Confinement::new(sandbox.minimum_abi).network(network(sandbox));
    // Agents run this program in the sandbox (`ephyr mcp`), wherever it is installed.
    let own = std::env::current_exe().ok();
    for path in SYSTEM.iter().map(Into::into).chain(own) {
        confinement = confinement.execute_if_present(path);
    }
    for path in DEVICES {
        confinement = confinement.use_fully_if_present(path);
    }
    for path in &sandbox.ro {
        if path.symlink_metadata().is_err() {
            print_note(&format!(
                "--ro {}: skipped, because it does not exist",
                path.display()
            ));
        }
        confinement = confinement.execute_if_present(path);
    }
    for path in &sandbox.rw {
        confinement = confinement.use_fully(path);
    }
    for path in &sandbox.sockets {
        confinement = confinement.connect_unix(path);
    }
    confinement
}

fn network(sandbox: &Sandbox) -> Network {
    if sandbox.connect.is_empty() {
        return Network::Nothing;
    }
    Network::Tcp {
        bind: Vec::new(),
        connect: sandbox.connect.clone(),
    }
}

fn describe(report: &LandlockReport) -> String {
    let features = |enforced: bool| {
        let all = Feature::ALL.iter();
        let chosen = all.filter(|feature| report.enforced.contains(feature) == enforced);
        let names: Vec<&str> = chosen.map(|feature| feature.as_str()).collect();
        if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(", ")
        }
    };
    format!(
        "Landlock ABI {}: enforced: {}; not supported by this kernel: {}",
        report.abi,
        features(true),
        features(false)
    )
}

fn not_confined(error: &SandboxError) -> Failure {
    match error {
        SandboxError::LandlockTooOld { found, minimum } => {
            let text = format!(
                "the kernel has Landlock ABI {found}, but {minimum} is required; the command was not run: use a newer \
                 kernel, enable Landlock (boot option lsm=landlock,…), or lower --minimum-abi"
            );
            Failure::new(UNAVAILABLE, "landlock_too_old", text)
        }
        SandboxError::Path { .. } => Failure::new(NO_INPUT, "no_path", error.to_string()),
        _ => Failure::new(UNAVAILABLE, "not_confined", error.to_string()),
    }
}

/// Prints a note on standard error, since standard output belongs to the command. A failure to write is ignored.
fn print_note(text: &str) {
    let _ = writeln!(io::stderr(), "ephyr: {text}");
}
