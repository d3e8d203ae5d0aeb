//! Tests certificates against OpenSSH's server and client on loopback.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ephyr_names::{Serial, Timestamp, Ttl};
use ephyr_signer::derive::derive;
use ephyr_signer::key::CaKey;
use ephyr_signer_ipc::{Intent, Purpose, Reply};
use ssh_key::{LineEnding, PrivateKey};

use crate::support::{PATIENCE, WIDE, World, exec, new_key, policy_text};

/// An sshd that trusts the world's CA and accepts one principal, with the user of the test process as login user.
struct Sshd {
    server: Child,
    port: u16,
    user: String,
}

impl Sshd {
    fn start(world: &World, principal: &str) -> Self {
        let key = new_key();
        write_private(world, "host_key", &key);
        fs::write(world.path("principals"), format!("{principal}\n")).unwrap();
        let dir = world.dir.path().display();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host_key\nPidFile none\n\
             TrustedUserCAKeys {dir}/ca.pub\nAuthorizedPrincipalsFile {dir}/principals\n\
             AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nMaxStartups 100\n"
        );
        fs::write(world.path("sshd_config"), configuration).unwrap();
        let log = fs::File::create(world.path("sshd.log")).unwrap();
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(world.path("sshd_config"))
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(world.path("sshd.log")).unwrap();
            assert!(begun.elapsed() < PATIENCE, "{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let user = Command::new("id").arg("-un").output().unwrap();
        let user = String::from_utf8(user.stdout).unwrap().trim().to_owned();
        Self { server, port, user }
    }

    /// Logs in with a certificate and requests a command, with nothing on standard input.
    fn login(
        &self,
        world: &World,
        key: &PrivateKey,
        certificate: &str,
        command: &[&str],
    ) -> Output {
        self.login_with_input(world, key, certificate, command, b"")
    }

    fn login_with_input(
        &self,
        world: &World,
        key: &PrivateKey,
        certificate: &str,
        command: &[&str],
        stdin: &[u8],
    ) -> Output {
        write_private(world, "id", key);
        fs::write(world.path("id-cert.pub"), certificate).unwrap();
        let mut client = Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "IdentitiesOnly=yes",
            ])
            .args([
                "-o",
                "IdentityAgent=none",
                "-o",
                "LogLevel=ERROR",
                "-p",
                &self.port.to_string(),
            ])
            .arg("-i")
            .arg(world.path("id"))
            .arg("-o")
            .arg(format!(
                "CertificateFile={}",
                world.path("id-cert.pub").display()
            ))
            .arg(format!("{}@127.0.0.1", self.user))
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = client.stdin.take().unwrap();
        let _ = input.write_all(stdin);
        // Standard input stays open: a sealed command must not wait for end of file.
        let output = client.wait_with_output().unwrap();
        drop(input);
        output
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn write_private(world: &World, name: &str, key: &PrivateKey) {
    let path = world.path(name);
    fs::write(&path, key.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Returns a client key and the running signer's certificate for it.
fn certified(world: &World, change: impl FnOnce(&mut Intent)) -> (PrivateKey, String) {
    let key = new_key();
    let mut intent = world.intent();
    intent.public_key = key.public_key().to_openssh().unwrap();
    change(&mut intent);
    match world.sign(&intent) {
        Reply::Certificate { certificate, .. } => (key, certificate),
        other => panic!("{other:?}"),
    }
}

/// Returns the command's output after the proof line.
fn command_output(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let rest = text.strip_prefix(ephyr_policy::SEALED_BEGINS);
    rest.unwrap_or(&text).to_owned()
}

#[test]
fn only_the_certificates_principal_can_log_in() {
    let world = World::running();
    let echo = |intent: &mut Intent| intent.purpose = exec("echo in");
    let (key, certificate) = certified(&world, echo);
    let web = Sshd::start(&world, "web/operator");
    let output = web.login(&world, &key, &certificate, &[]);
    assert_eq!(command_output(&output), "in\n", "{output:?}");
    drop(web);
    for foreign in ["db/operator", "web/read", "operator", "web"] {
        let other = Sshd::start(&world, foreign);
        let output = other.login(&world, &key, &certificate, &[]);
        assert!(
            !output.status.success() && command_output(&output).is_empty(),
            "{foreign}: {output:?}"
        );
    }
}

#[test]
fn sealed_command_replaces_the_clients_and_has_no_stdin() {
    let world = World::running();
    let sshd = Sshd::start(&world, "web/operator");
    let seal = |command: &str| certified(&world, |intent| intent.purpose = exec(command));
    let (key, certificate) = seal("printf '%s\\n' \"sealed\"; exit 7");
    for asked in [&["id"][..], &["sh", "-c", "id"], &[]] {
        let output = sshd.login(&world, &key, &certificate, asked);
        assert_eq!(
            (command_output(&output).as_str(), output.status.code()),
            ("sealed\n", Some(7)),
            "{output:?}"
        );
    }
    let (key, certificate) = seal("cat; echo end");
    let output = sshd.login(&world, &key, &certificate, &[]);
    assert_eq!(
        command_output(&output),
        "end\n",
        "standard input is closed: {output:?}"
    );
    let (key, certificate) = seal("sleep 1; cat; echo end");
    let output = sshd.login_with_input(&world, &key, &certificate, &[], b"sent\n");
    assert_eq!(
        command_output(&output),
        "end\n",
        "input is neither read nor taken for end of file: {output:?}"
    );
    let output = sshd.login(&world, &key, &certificate, &["-tt"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("PTY allocation request failed"),
        "no terminal is allocated: {output:?}"
    );
}

#[test]
fn check_certificate_logs_in_and_runs_nothing() {
    let world = World::running();
    let sshd = Sshd::start(&world, "web/operator");
    let (key, certificate) = certified(&world, |intent| intent.purpose = Purpose::Check);
    let output = sshd.login(&world, &key, &certificate, &["echo", "ran"]);
    assert_eq!(
        (output.status.code(), command_output(&output).as_str()),
        (Some(0), ""),
        "{output:?}"
    );
}

#[test]
fn open_certificate_runs_the_clients_command() {
    let world = World::running();
    let sshd = Sshd::start(&world, "web/operator");
    let (key, certificate) = certified(&world, |intent| intent.purpose = Purpose::Session);
    let output = sshd.login(&world, &key, &certificate, &["echo", "asked"]);
    assert_eq!(command_output(&output), "asked\n", "{output:?}");
}

#[test]
fn certificate_outside_its_validity_or_of_another_ca_is_refused() {
    let world = World::new(WIDE);
    let sshd = Sshd::start(&world, "web/operator");
    let policy = ephyr_policy::load(policy_text(WIDE).as_bytes(), "policy.yaml").unwrap();
    let text = fs::read(world.path("ca_key")).unwrap();
    let ours = CaKey::new(PrivateKey::from_openssh(text).unwrap()).unwrap();
    let theirs = CaKey::new(new_key()).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = Timestamp::from_unix_seconds(i64::try_from(now.as_secs()).unwrap());
    let attempt = |ca: &CaKey, at: Timestamp| {
        let key = new_key();
        let mut intent = world.intent();
        intent.public_key = key.public_key().to_openssh().unwrap();
        intent.purpose = exec("echo in");
        let spec = derive(&policy, &intent, at, Serial(1)).unwrap();
        let certificate = ca.certify(&spec, [1; 32]).unwrap();
        command_output(&sshd.login(&world, &key, &certificate, &[]))
    };
    assert_eq!(attempt(&ours, now), "in\n");
    let earlier = Timestamp::from_unix_seconds(now.unix_seconds() - 120);
    assert_eq!(attempt(&ours, earlier), "", "expired a minute ago");
    assert_eq!(
        attempt(&ours, now.after(Ttl::from_secs(120))),
        "",
        "valid in 90 s"
    );
    assert_eq!(attempt(&theirs, now), "", "another CA");
}
