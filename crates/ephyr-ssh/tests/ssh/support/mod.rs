//! A real sshd on a loopback port, a CA, and permits from a real policy.

#![allow(dead_code, unused_imports, reason = "each test program uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests and benchmarks use it"
)]

mod ca;
mod permit;
mod processes;
mod relay;
mod sshd;

pub(crate) use ca::{Ca, Spec, key};
pub(crate) use permit::{Pin, connect, permit};
pub(crate) use processes::{alive, memory_high_water, until_dead};
pub(crate) use relay::Relay;
pub(crate) use sshd::{Lab, Setup};

use std::time::Duration;

use ephyr_ssh::{ExecOptions, ExecOutput, KeyPair, LoggedIn, Options, SshError};

/// Shells that run sealed commands, at Debian's paths.
pub(crate) const SHELLS: [&str; 8] = [
    "/bin/sh",
    "/bin/bash",
    "/bin/rbash",
    "/bin/dash",
    "/bin/mksh",
    "/bin/lksh",
    "/bin/yash",
    "/bin/zsh",
];

/// Returns the installed shells, and a skip reason that names the missing ones.
pub(crate) fn installed(
    shells: impl IntoIterator<Item = &'static str>,
) -> (Vec<&'static str>, Option<String>) {
    let (there, missing): (Vec<_>, Vec<_>) = shells
        .into_iter()
        .partition(|path| std::path::Path::new(path).exists());
    let why = format!("without {}, which is not installed", missing.join(", "));
    (there, (!missing.is_empty()).then_some(why))
}

/// Logs in and runs one command.
pub(crate) async fn run(
    lab: &Lab,
    command: &str,
    options: ExecOptions,
) -> Result<ExecOutput, SshError> {
    login(lab, command).await?.exec(options).await
}

/// Runs one command with default options.
pub(crate) async fn run_plainly(lab: &Lab, command: &str) -> ExecOutput {
    run(lab, command, ExecOptions::default()).await.unwrap()
}

/// Logs in with a certificate sealed to the command.
pub(crate) async fn login(lab: &Lab, command: &str) -> Result<LoggedIn, SshError> {
    login_by(lab, command, &Spec::default()).await
}

/// Logs in with a certificate of this form.
pub(crate) async fn login_by(lab: &Lab, command: &str, spec: &Spec) -> Result<LoggedIn, SshError> {
    let permit = permit(lab.port, &lab.account, &lab.pin(), command);
    let connection = connect(&permit, &Options::default()).await?;
    let keys = KeyPair::generate()?;
    let certificate = lab.ca.certify(keys.public_openssh(), command, spec);
    connection.authenticate(keys.identity(&certificate)?).await
}

/// Returns the default options with this timeout.
pub(crate) fn within(timeout: Duration) -> ExecOptions {
    ExecOptions {
        timeout,
        ..ExecOptions::default()
    }
}
