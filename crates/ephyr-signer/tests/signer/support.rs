//! Runs the real signer for the tests, in a temporary directory and, if the tests run as root, as its own user.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ephyr_names::{Digest, RecordId, Ttl};
use ephyr_signer_ipc::{ExchangeError, Intent, Purpose, Reply, Request, exchange};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use ssh_key::{Certificate, LineEnding, PrivateKey, PublicKey};
use tempfile::TempDir;

/// The signer's user if the tests run as root. The test process is the broker.
pub(crate) const SIGNER_UID: u32 = 61_001;

/// A user that is neither the signer's nor the broker's.
pub(crate) const OTHER_UID: u32 = 61_002;

/// Timeout after which a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBFb0pR5mR0UgbYKcqoUIkxBSF1sNaC/hxrFKJ9XBTHE";

/// The policy of the tests; `LIMITS` is replaced by the signer's settings.
pub(crate) const POLICY: &str = r#"
global: { max_active_certs: 1000, default_ttl: 5m, max_ttl: 30m, host_key_strict: true }
roles:
  read: { principal: eph-read, commands: [uptime, "cat *"] }
  operator: { principal: eph-op }
  shell: { principal: eph-shell, pty: true }
targets:
  web: { host: 127.0.0.1, host_key: HOST_KEY, allowed_roles: [read, operator, shell], max_ttl: 10m, auto_approve: true }
  db: { host: 127.0.0.2, host_key: HOST_KEY, allowed_roles: [operator], auto_approve: true }
  vault: { host: 127.0.0.3, host_key: HOST_KEY, allowed_roles: [operator], auto_approve: false }
agents:
  lead: { uid: 1501, max_concurrent_certs: 5, ssh: { web: { roles: [read, operator, shell] }, vault: { roles: [operator] } } }
  helper: { uid: 1502, max_concurrent_certs: 5, ssh: { web: { roles: [read] } } }
signer: { LIMITS }
"#;

/// Limits that no test reaches by accident.
pub(crate) const WIDE: &str = "rate_limit: 1000000/1m, global_rate_limit: 1000000/1m";

/// A temporary directory with a CA key, a policy and a signer.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) ca: PublicKey,
    pub(crate) broker_user: String,
    /// The program and arguments that run the signer, such as `setpriv`.
    pub(crate) wrapper: Vec<String>,
    /// Additional environment variables.
    pub(crate) environment: Vec<(&'static str, String)>,
    signer: Option<Child>,
}

impl World {
    /// Returns a world whose signer is not started.
    pub(crate) fn new(limits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let key = new_key();
        let ca = key.public_key().clone();
        let world = Self {
            dir,
            ca,
            broker_user: geteuid().as_raw().to_string(),
            wrapper: if is_root() {
                as_user(SIGNER_UID)
            } else {
                Vec::new()
            },
            environment: Vec::new(),
            signer: None,
        };
        fs::create_dir(world.path("state")).unwrap();
        world.write_policy(&policy_text(limits));
        let text = key.to_openssh(LineEnding::LF).unwrap();
        fs::write(world.path("ca_key"), text.as_bytes()).unwrap();
        fs::set_permissions(world.path("ca_key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(world.path("ca.pub"), world.ca.to_openssh().unwrap()).unwrap();
        if is_root() {
            for name in ["state", "ca_key"] {
                chown(world.path(name), Some(SIGNER_UID), Some(SIGNER_UID)).unwrap();
            }
        }
        world
    }

    /// Returns a world whose signer serves.
    pub(crate) fn running() -> Self {
        let mut world = Self::new(WIDE);
        world.start();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("state/signer.sock")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path("state/journal")
    }

    /// Replaces the policy by rename, as an operator's tools do.
    pub(crate) fn write_policy(&self, text: &str) {
        fs::write(self.path("policy.new"), text).unwrap();
        fs::rename(self.path("policy.new"), self.path("policy.yaml")).unwrap();
    }

    /// Returns the SHA-256 of the policy file, as intents carry it.
    pub(crate) fn policy_hash(&self) -> Digest {
        use sha2::Digest as _;
        let bytes = fs::read(self.path("policy.yaml")).unwrap();
        Digest(sha2::Sha256::digest(bytes).into())
    }

    pub(crate) fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_ephyr-signer").to_owned();
        let line: Vec<String> = self.wrapper.iter().cloned().chain([program]).collect();
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .arg("--policy")
            .arg(self.path("policy.yaml"))
            .arg("--socket")
            .arg(self.socket())
            .arg("--ca-key")
            .arg(self.path("ca_key"))
            .arg("--journal")
            .arg(self.journal())
            .args(["--broker-user", &self.broker_user])
            .env("RUST_BACKTRACE", "0")
            .env_remove("JOURNAL_STREAM")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Starts the signer and waits until it serves.
    pub(crate) fn start(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let before = self.log().matches("serving").count();
        self.signer = Some(self.command().stderr(log).spawn().unwrap());
        let begun = Instant::now();
        while self.log().matches("serving").count() == before {
            let ended = self.signer.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            assert!(begun.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs the signer, which must fail to start, and returns its standard error.
    pub(crate) fn fails_to_start(&self) -> String {
        let path = self.path("failed.log");
        let log = fs::File::create(&path).unwrap();
        let mut child = self.command().stderr(log).spawn().unwrap();
        let begun = Instant::now();
        loop {
            let ended = child.try_wait().unwrap();
            let stderr = fs::read_to_string(&path).unwrap();
            if let Some(status) = ended {
                assert!(!status.success(), "{stderr}");
                return stderr;
            }
            if stderr.contains("serving") || begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the signer was expected to fail: {stderr}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn wait_for_log(&self, what: &str) {
        let begun = Instant::now();
        while !self.log().contains(what) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        let id = self.signer.as_ref().unwrap().id();
        Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until the signer has exited.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut child = self.signer.take().unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the signer did not exit: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn try_ask(&self, request: &Request) -> Result<Reply, ExchangeError> {
        exchange(&mut self.connect(), request)
    }

    pub(crate) fn ask(&self, request: &Request) -> Reply {
        self.try_ask(request).unwrap()
    }

    /// Returns an intent that the policy grants: `operator` on `web`, by `lead`, for a minute.
    pub(crate) fn intent(&self) -> Intent {
        intent(self.policy_hash(), "lead", "operator")
    }

    pub(crate) fn sign(&self, intent: &Intent) -> Reply {
        let intent = intent.clone();
        self.ask(&Request::Sign { intent })
    }

    /// Requests a certificate that must be granted; returns it after verifying the CA's signature.
    pub(crate) fn granted(&self, intent: &Intent) -> Certificate {
        match self.sign(intent) {
            Reply::Certificate { certificate, .. } => self.checked(&certificate),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn checked(&self, line: &str) -> Certificate {
        let certificate = Certificate::from_openssh(line).unwrap();
        assert_eq!(certificate.signature_key(), self.ca.key_data());
        certificate.verify_signature().unwrap();
        certificate
    }

    /// Returns the journal's entries as JSON values, after verifying the chain.
    pub(crate) fn entries(&self) -> Vec<serde_json::Value> {
        use sha2::Digest as _;
        let text = fs::read_to_string(self.journal()).unwrap();
        let mut previous = [0; 32];
        let mut entries = Vec::new();
        for line in text.lines() {
            let (open, hash) = line.rsplit_once(",\"hash\":\"").unwrap();
            let hasher = sha2::Sha256::new_with_prefix(previous);
            let digest = hasher.chain_update(open).chain_update("}").finalize();
            let digest = Digest(digest.into());
            assert_eq!(hash, format!("{digest}\"}}"), "{line}");
            previous = digest.0;
            entries.push(serde_json::from_str(line).unwrap());
        }
        entries
    }

    pub(crate) fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        let entries = self.entries().into_iter();
        entries.filter(|entry| entry["event"] == kind).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut signer) = self.signer.take() {
            let _ = signer.kill();
            let _ = signer.wait();
        }
    }
}

pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// Returns the command prefix that runs a program as this user and group, without supplementary groups.
pub(crate) fn as_user(uid: u32) -> Vec<String> {
    let id = uid.to_string();
    ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]
        .map(str::to_owned)
        .to_vec()
}

pub(crate) fn policy_text(limits: &str) -> String {
    POLICY
        .replace("HOST_KEY", HOST_KEY)
        .replace("LIMITS", limits)
}

pub(crate) fn new_key() -> PrivateKey {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&seed))
}

/// Returns an intent for a command on `web` for a minute, with a new key.
pub(crate) fn intent(policy: Digest, agent: &str, role: &str) -> Intent {
    Intent {
        policy,
        agent: agent.parse().unwrap(),
        target: "web".parse().unwrap(),
        role: role.parse().unwrap(),
        ttl: Ttl::from_secs(60),
        public_key: new_key().public_key().to_openssh().unwrap(),
        purpose: exec("uptime"),
        task: None,
        lineage: vec![],
    }
}

pub(crate) fn exec(command: &str) -> Purpose {
    Purpose::Exec {
        command: command.into(),
        stdin_digest: None,
    }
}

pub(crate) fn checkpoint(log: u128, from: u64, hashes: &[[u8; 32]]) -> Request {
    Request::Checkpoint {
        log: RecordId::from_bits(log),
        from,
        hashes: hashes.iter().copied().map(Digest).collect(),
    }
}

/// Returns the output of `ssh-keygen -L` for a certificate.
pub(crate) fn keygen(dir: &Path, certificate: &str) -> String {
    let path = dir.join("shown-cert.pub");
    fs::write(&path, certificate).unwrap();
    let output = Command::new("ssh-keygen")
        .arg("-L")
        .arg("-f")
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Reads until the other end closes or resets the connection.
pub(crate) fn read_all(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let timed_out = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!timed_out, "the other end did not close");
    }
    bytes
}
