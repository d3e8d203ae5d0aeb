//! Measures one command with its own certificate, against OpenSSH's client with the same server.

use std::process::{Command, Stdio};
use std::time::Instant;

use ephyr_api::ExecArguments;
use ephyr_testkit::World;
use ssh_key::LineEnding;
use ssh_key::private::{Ed25519Keypair, KeypairData};

use crate::Failure;
use crate::daemons::certificate;
use crate::row::{Row, median};

const RUNS: usize = 25;

/// Measures sequential `exec` calls, alternating with `ssh`.
pub(crate) fn rows() -> Result<Vec<Row>, Failure> {
    let mut world = World::start()?;
    let dir = tempfile::tempdir()?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let key = ssh_key::PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), "")?;
    let identity = dir.path().join("id");
    std::fs::write(&identity, key.to_openssh(LineEnding::LF)?.as_bytes())?;
    std::fs::set_permissions(
        &identity,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )?;
    let line = certificate(world.ca().private(), &key, "web/read")?;
    std::fs::write(dir.path().join("id-cert.pub"), line)?;
    let account = world.accounts().role_account("eph-read")?;
    let target = world.target("web")?;
    let (port, host_key) = (target.port, target.host_key.clone());
    let known = dir.path().join("known_hosts");
    std::fs::write(&known, format!("[127.0.0.1]:{port} {host_key}\n"))?;

    let openssh = || -> Result<f64, Failure> {
        let begun = Instant::now();
        let status = Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "ControlMaster=no",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "BatchMode=yes",
            ])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known.display()))
            .arg("-i")
            .arg(&identity)
            .args(["-p", &port.to_string()])
            .arg(format!("{account}@127.0.0.1"))
            .arg("true")
            .stdin(Stdio::null())
            .status()?;
        if status.success() {
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        } else {
            Err(format!("ssh: {status}").into())
        }
    };
    let mut scout = world.mcp_with_key("scout")?;
    let mut ours = || -> Result<f64, Failure> {
        let begun = Instant::now();
        let ran = scout.invoke(&ExecArguments::new("web", "read", "true"))?;
        if ran.exit_code == 0 {
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        } else {
            Err(format!("exec: status {}", ran.exit_code).into())
        }
    };
    ours()?;
    openssh()?;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        a.push(ours()?);
        b.push(openssh()?);
    }
    Ok(vec![Row::at_most(
        "exec with a new certificate (ms)",
        median(a),
        median(b),
        0.35,
    )])
}
