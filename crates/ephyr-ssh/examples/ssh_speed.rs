//! Compares the latency of a command with a new certificate to that of OpenSSH's client on the same server.
//!
//! `cargo run --release -p ephyr-ssh --example ssh_speed -- [RUNS] [--json]`. Both clients open a new
//! connection, log in with a certificate and run `true`. Ours generates its key pair and certificate for each
//! run, during the key exchange; OpenSSH reads them from files. The server runs on a loopback port.

#[path = "../tests/ssh/support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ephyr_ssh::{ExecOptions, Exit, KeyPair, Options, SshError, Timings};
use support::{Lab, Spec, connect, permit};

const COMMAND: &str = "true";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let json = words.iter().any(|word| word == "--json");
    let runs = words
        .iter()
        .find_map(|word| word.parse().ok())
        .unwrap_or(30);

    let lab = Lab::start();
    let dir = tempfile::tempdir()?;
    write_identity(&lab, dir.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    let mut steps = Vec::new();
    // Alternating, so that both see the same load; the first run of each is a warm-up.
    for run in 0..=runs {
        let started = Instant::now();
        let timings = runtime.block_on(once(&lab))?;
        let took = started.elapsed();
        let openssh = openssh(&lab, dir.path())?;
        if run > 0 {
            ours.push(took);
            steps.push(timings);
            reference.push(openssh);
        }
    }
    report(json, median(ours), median(reference), &steps);
    Ok(())
}

/// Runs one command with our client.
async fn once(lab: &Lab) -> Result<Timings, SshError> {
    let permit = permit(lab.port, &lab.account, &lab.pin(), COMMAND);
    let identity = async {
        let keys = KeyPair::generate()?;
        let certificate = lab
            .ca
            .certify(keys.public_openssh(), COMMAND, &Spec::default());
        keys.identity(&certificate)
    };
    let (connection, identity) = tokio::try_join!(connect(&permit, &Options::default()), identity)?;
    let login = connection.authenticate(identity).await?;
    let done = login.exec(ExecOptions::default()).await?;
    assert_eq!(done.exit, Exit::Code(0));
    Ok(done.timings)
}

/// Writes a key file with a certificate that is valid for all runs, and a known_hosts file.
fn write_identity(lab: &Lab, dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let key = support::key(3);
    let file = dir.join("id");
    let private = key.to_openssh(ssh_key::LineEnding::LF)?;
    fs::write(&file, private.as_bytes())?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let spec = Spec {
        valid: (-30, 3600),
        ..Spec::default()
    };
    let certificate = lab
        .ca
        .certify(&key.public_key().to_openssh()?, COMMAND, &spec);
    fs::write(dir.join("id-cert.pub"), certificate)?;
    fs::write(
        dir.join("known_hosts"),
        format!("[127.0.0.1]:{} {}\n", lab.port, lab.host_keys[0]),
    )?;
    Ok(())
}

/// Runs one command with OpenSSH's client. Returns the time it took.
fn openssh(lab: &Lab, dir: &Path) -> Result<Duration, Box<dyn std::error::Error>> {
    let option = |name: &str, file: &str| format!("{name}={}", dir.join(file).display());
    let started = Instant::now();
    let mut ssh = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "ControlMaster=no",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args([
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-p",
        ])
        .arg(lab.port.to_string())
        .args(["-o", &option("UserKnownHostsFile", "known_hosts")])
        .args(["-o", &option("IdentityFile", "id")])
        .arg(format!("{}@127.0.0.1", lab.account))
        .arg(COMMAND)
        // Kept open: the watcher ends the command at the end of standard input.
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdin = ssh.stdin.take();
    let status = ssh.wait()?;
    let took = started.elapsed();
    drop(stdin);
    if !status.success() {
        return Err(format!("ssh: {status}\n{}", lab.log()).into());
    }
    Ok(took)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn report(json: bool, ours: Duration, reference: Duration, steps: &[Timings]) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let step = |of: fn(&Timings) -> Duration| ms(median(steps.iter().map(of).collect()));
    let ratio = ours.as_secs_f64() / reference.as_secs_f64();
    let (connect, kex) = (step(|t| t.connect), step(|t| t.kex));
    let (login, exec) = (step(|t| t.login), step(|t| t.exec));
    let (ours, reference) = (ms(ours), ms(reference));
    if json {
        println!(
            "{{\"name\":\"exec_new_certificate\",\"ours_ms\":{ours:.2},\"reference_ms\":{reference:.2},\
             \"ratio\":{ratio:.3},\"connect_ms\":{connect:.2},\"kex_ms\":{kex:.2},\
             \"login_ms\":{login:.2},\"exec_ms\":{exec:.2}}}"
        );
    } else {
        println!("ours {ours:.1} ms, OpenSSH {reference:.1} ms, ratio {ratio:.2}");
        println!("connect {connect:.1}, kex {kex:.1}, login {login:.1}, exec {exec:.1}");
    }
}
