//! Tests of the test kit itself: its targets check principals, its accounts are separate, and it
//! leaves nothing on the machine.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use ephyr_testkit::http::Endpoint;
use ephyr_testkit::{CaKey, Footing, World, skip};
use ssh_key::LineEnding;
use ssh_key::certificate::{Builder, CertType};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Signs a certificate with the CA key of `world` and logs in with OpenSSH's client.
fn log_in(world: &mut World, target: &str, account: &str, principal: &str) -> Result<Output> {
    let dir = world.dir().join(format!(
        "client-{target}-{account}-{}",
        principal.replace('/', "-")
    ));
    fs::create_dir(&dir)?;
    let key = CaKey::generate("client")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut builder = Builder::new([7; 32], key.public().key_data().clone(), now - 30, now + 60)?;
    builder.cert_type(CertType::User)?;
    builder.key_id("test")?;
    builder.valid_principal(principal)?;
    let certificate = builder.sign(world.ca().private())?;
    let path = dir.join("key");
    key.private().write_openssh_file(&path, LineEnding::LF)?;
    fs::write(dir.join("key-cert.pub"), certificate.to_openssh()? + "\n")?;
    let port = world.target(target)?.port.to_string();
    let account = world.accounts().role_account(account)?;
    Ok(Command::new("ssh")
        .args([
            "-F",
            "none",
            "-p",
            &port,
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .arg("-i")
        .arg(&path)
        .arg(format!("{account}@127.0.0.1"))
        .arg("id -un")
        .output()?)
}

#[test]
fn target_accepts_only_certificates_with_its_own_name() {
    let mut world = World::builder().prepare().unwrap();
    let good = log_in(&mut world, "web", "eph-read", "web/read").unwrap();
    assert!(
        good.status.success(),
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    let account = world.accounts().role_account("eph-read").unwrap();
    assert_eq!(String::from_utf8_lossy(&good.stdout).trim(), account);
    let elsewhere = log_in(&mut world, "db", "eph-read", "web/read").unwrap();
    assert_eq!(elsewhere.status.code(), Some(255));
}

#[test]
fn account_accepts_only_the_principal_of_its_role() {
    let mut world = World::builder().prepare().unwrap();
    if !world.accounts().have_role_accounts() {
        return skip(
            "all roles share one account; separate accounts need root and a mount namespace",
        );
    }
    let right = log_in(&mut world, "web", "eph-op", "web/operator").unwrap();
    assert!(
        right.status.success(),
        "{}",
        String::from_utf8_lossy(&right.stderr)
    );
    let wrong = log_in(&mut world, "web", "eph-op", "web/read").unwrap();
    assert_eq!(wrong.status.code(), Some(255));
}

#[test]
fn account_files_of_the_machine_stay_unchanged() {
    let before = fs::read("/etc/passwd").unwrap();
    let world = World::builder().prepare().unwrap();
    assert_eq!(fs::read("/etc/passwd").unwrap(), before);
    let dir = world.dir().to_owned();
    drop(world);
    assert_eq!(fs::read("/etc/passwd").unwrap(), before);
    assert!(!dir.exists());
}

#[test]
fn dropping_a_world_ends_all_its_processes() {
    let mut world = World::builder().prepare().unwrap();
    let pid = world.target("web").unwrap().daemon().pid();
    let mut sleeper = world
        .command("/bin/sleep", "builder")
        .unwrap()
        .arg("600")
        .spawn()
        .unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    let comm = format!("/proc/{}/comm", sleeper.id());
    while fs::read_to_string(&comm).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    let separate = world.accounts().footing == Footing::Private;
    drop(world);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    if !separate {
        sleeper.kill().unwrap();
    }
    // With a namespace, the keeper also kills processes that are not on its list.
    sleeper.wait().unwrap();
}

#[test]
fn connection_as_an_agent_has_its_peer_credentials() {
    let world = World::builder().prepare().unwrap();
    if !world.accounts().are_separate() {
        return skip("connecting with another user id needs root");
    }
    let path = world.dir().join("broker-run/probe.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let builder = world.accounts().get("builder").unwrap().clone();
    std::os::unix::fs::chown(&path, Some(builder.uid), None).unwrap();
    let _connection = Endpoint::Unix(path, Some(builder.clone()))
        .connect()
        .unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let peer = rustix::net::sockopt::socket_peercred(&accepted).unwrap();
    assert_eq!(
        (peer.uid.as_raw(), peer.gid.as_raw()),
        (builder.uid, builder.gid)
    );
    assert!(rustix::process::geteuid().is_root());
}
