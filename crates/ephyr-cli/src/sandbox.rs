//! `ephyr sandbox`: Landlock, then the command in this process's place.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use ephyr_sandbox::{Confinement, Feature, LandlockReport, Network, SandboxError};

use crate::args::Sandbox;
use crate::failure::{CANNOT_RUN, Failure, NO_COMMAND, NO_INPUT, UNAVAILABLE};

/// What every program needs to start; what is not there is passed over.
const SYSTEM: [&str; 11] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    // On NixOS the way to programs leads through links here.
    "/run/current-system",
    "/etc/static",
    "/etc",
];

/// Devices that hold nothing.
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// Runs the command; comes back only when it cannot.
pub(crate) fn run(sandbox: &Sandbox) -> Failure {
    // Clap asks for at least one word.
    let Some((program, arguments)) = sandbox.command.split_first() else {
        return Failure::usage("which command?");
    };
    let own = rustix::process::geteuid().as_raw();
    if let Some(uid) = sandbox.uid.filter(|uid| *uid != own) {
        return another_user(own, uid);
    }
    match confinement(sandbox).apply() {
        Ok(report) if sandbox.verbose => say(&told(&report)),
        Ok(_) => {}
        Err(error) => return not_confined(&error),
    }
    let error = Command::new(program).args(arguments).exec();
    let program = program.to_string_lossy();
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::new(NO_COMMAND, "no_command", format!("{program}: {error}"));
    }
    let advice = if error.kind() == io::ErrorKind::PermissionDenied {
        "; outside of the system's own directories, --ro DIRECTORY lets programs run"
    } else {
        ""
    };
    Failure::new(
        CANNOT_RUN,
        "cannot_run",
        format!("{program}: {error}{advice}"),
    )
}

/// Whoever makes users takes another id where the one that was asked for is somebody's.
fn another_user(own: u32, expected: u32) -> Failure {
    let text = format!(
        "this runs as UID {own} and not as {expected}, by which broker and firewall know the agent; see whose \
         {expected} is (getent passwd {expected}), and give the agent another one, in the policy too, or its \
         user that one; the command was not run"
    );
    Failure::new(CANNOT_RUN, "another_uid", text)
}

fn confinement(sandbox: &Sandbox) -> Confinement {
    let mut confinement = Confinement::new(sandbox.minimum_abi).network(network(sandbox));
    // Agents call it again (`ephyr mcp`), wherever it lies.
    let own = std::env::current_exe().ok();
    for path in SYSTEM.iter().map(Into::into).chain(own) {
        confinement = confinement.execute_if_present(path);
    }
    for path in DEVICES {
        confinement = confinement.use_fully_if_present(path);
    }
    for path in &sandbox.ro {
        if path.symlink_metadata().is_err() {
            say(&format!(
                "--ro {}: not there, so passed over",
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

fn told(report: &LandlockReport) -> String {
    let words = |enforced: bool| {
        let all = Feature::ALL.iter();
        let chosen = all.filter(|feature| report.enforced.contains(feature) == enforced);
        let words: Vec<&str> = chosen.map(|feature| feature.as_str()).collect();
        if words.is_empty() {
            "nothing".to_owned()
        } else {
            words.join(", ")
        }
    };
    format!(
        "Landlock ABI {}: {} enforced; {} not, which this kernel cannot",
        report.abi,
        words(true),
        words(false)
    )
}

fn not_confined(error: &SandboxError) -> Failure {
    match error {
        SandboxError::LandlockTooOld { found, minimum } => {
            let text = format!(
                "the kernel offers Landlock ABI {found}, {minimum} is demanded: use a newer kernel, enable \
                 Landlock (boot option lsm=landlock,…), or lower --minimum-abi; the command was not run"
            );
            Failure::new(UNAVAILABLE, "landlock_too_old", text)
        }
        SandboxError::Path { .. } => Failure::new(NO_INPUT, "no_path", error.to_string()),
        _ => Failure::new(UNAVAILABLE, "not_confined", error.to_string()),
    }
}

/// Standard error: standard output is the command's. If it is closed, nobody wants to know.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "ephyr: {text}");
}
